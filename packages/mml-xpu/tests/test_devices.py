import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mml_xpu.devices import device_count, parse_devices, why_none

counts = st.integers(1, 9)


@given(count=counts, data=st.data())
def test_parse_devices_accepts_every_spelling(count, data):
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
def test_minus_one_and_auto_select_all_devices(count):
    for everything in (-1, "-1", "auto"):
        assert parse_devices(everything, count) == list(range(count))


@given(count=counts, beyond=st.integers(0, 5))
def test_parse_devices_names_missing_device(count, beyond):
    for devices in ([count + beyond], f"{count + beyond},"):
        with pytest.raises(
            ValueError, match=rf"selects Intel GPU {count + beyond}, but torch finds {count} \(0 to"
        ):
            parse_devices(devices, count)
    with pytest.raises(ValueError, match=f"selects {count + 1 + beyond} Intel GPUs, but torch finds {count}"):
        parse_devices(count + 1 + beyond, count)


@pytest.mark.parametrize(
    ("devices", "error", "message"),
    [
        (0, ValueError, "selects no device. Pass devices=1"),
        ([], ValueError, "selects no device"),
        ("", ValueError, "Pass a number"),
        ("0,x", ValueError, "devices='0,x' is invalid"),
        ([0, 0], ValueError, "twice"),
        ([-1], ValueError, "selects Intel GPU -1, but torch finds 2"),
        (-2, ValueError, "selects -2 Intel GPUs"),
        (True, TypeError, "got True"),
        ([0, "1"], TypeError, "contains '1'"),
        ([False], TypeError, "contains False"),
        (None, TypeError, "got None"),
        (1.0, TypeError, "got 1.0"),
    ],
)
def test_parse_devices_rejects_invalid(devices, error, message):
    with pytest.raises(error, match=message):
        parse_devices(devices, 2)


def test_device_count_is_zero_if_torch_raises(monkeypatch):
    def broken():
        raise RuntimeError("level-zero exploded")

    monkeypatch.setattr(torch.xpu, "is_available", broken)
    assert device_count() == 0
    monkeypatch.delattr(torch, "xpu")
    assert device_count() == 0


def test_why_none_distinguishes_build_and_device(monkeypatch):
    monkeypatch.setattr(torch.version, "xpu", None, raising=False)
    assert "uv pip install --torch-backend=xpu" in why_none()
    monkeypatch.setattr(torch.version, "xpu", "20250301", raising=False)
    assert "does not find one" in why_none()
    assert "--torch-backend" not in why_none()
