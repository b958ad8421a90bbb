import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mml_xpu.devices import device_count, parse_devices, why_none

counts = st.integers(1, 9)


@given(count=counts, data=st.data())
def test_every_spelling_of_a_selection_gives_the_same_indices(count, data):
    indices = data.draw(
        st.permutations(range(count)).flatmap(lambda p: st.integers(1, count).map(lambda n: p[:n]))
    )
    assert parse_devices(list(indices), count) == list(indices)
    assert parse_devices(tuple(indices), count) == list(indices)
    assert parse_devices(",".join(map(str, indices)) + ",", count) == list(indices)
    number = len(indices)
    assert parse_devices(number, count) == parse_devices(str(number), count) == list(range(number))


@given(count=counts)
@settings(max_examples=10)
def test_minus_one_and_auto_are_all_devices(count):
    for everything in (-1, "-1", "auto"):
        assert parse_devices(everything, count) == list(range(count))


@given(count=counts, beyond=st.integers(0, 5))
def test_a_device_that_does_not_exist_is_named(count, beyond):
    for devices in ([count + beyond], f"{count + beyond},"):
        with pytest.raises(
            ValueError, match=rf"asks for Intel GPU {count + beyond}, but torch sees {count} \(0 to"
        ):
            parse_devices(devices, count)
    with pytest.raises(ValueError, match=f"asks for {count + 1 + beyond} Intel GPUs, but torch sees {count}"):
        parse_devices(count + 1 + beyond, count)


@pytest.mark.parametrize(
    ("devices", "error", "message"),
    [
        (0, ValueError, "asks for no device: pass devices=1"),
        ([], ValueError, "asks for no device"),
        ("", ValueError, "pass a number"),
        ("0,x", ValueError, "devices='0,x' is not understood"),
        ([0, 0], ValueError, "twice"),
        ([-1], ValueError, "asks for Intel GPU -1, but torch sees 2"),
        (-2, ValueError, "asks for -2 Intel GPUs"),
        (True, TypeError, "devices=True"),
        ([0, "1"], TypeError, "holds '1'"),
        ([False], TypeError, "holds False"),
        (None, TypeError, "devices=None"),
        (1.0, TypeError, "devices=1.0"),
    ],
)
def test_bad_devices_are_refused(devices, error, message):
    with pytest.raises(error, match=message):
        parse_devices(devices, 2)


def test_a_torch_that_raises_has_no_devices(monkeypatch):
    def broken():
        raise RuntimeError("level-zero exploded")

    monkeypatch.setattr(torch.xpu, "is_available", broken)
    assert device_count() == 0
    monkeypatch.delattr(torch, "xpu")
    assert device_count() == 0


def test_the_reason_tells_a_wrong_build_from_a_missing_device(monkeypatch):
    monkeypatch.setattr(torch.version, "xpu", None, raising=False)
    assert "uv pip install --torch-backend=xpu" in why_none()
    monkeypatch.setattr(torch.version, "xpu", "20250301", raising=False)
    assert "finds no device" in why_none()
    assert "--torch-backend" not in why_none()
