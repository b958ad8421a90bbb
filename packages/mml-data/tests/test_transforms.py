import pytest
from mml_data.transforms import apply_transforms


def double(sample):
    return {**sample, "x": sample["x"] * 2}


class Raise:
    def __init__(self, error):
        self.error = error

    def __call__(self, sample):
        raise self.error


SAMPLE = {"sample_id": "toy/000007", "x": 3}


def test_transforms_apply_in_order():
    assert apply_transforms(SAMPLE, [double, lambda sample: {**sample, "x": sample["x"] + 1}])["x"] == 7
    assert apply_transforms(SAMPLE, []) is SAMPLE


@pytest.mark.parametrize("kind", [ValueError, TypeError, ZeroDivisionError, RuntimeError, ImportError])
def test_error_keeps_type_and_names_sample(kind):
    with pytest.raises(kind, match=r"^toy/000007: Raise: no volume$") as info:
        apply_transforms(SAMPLE, [double, Raise(kind("no volume"))])
    assert str(info.value.__cause__) == "no volume"


def test_error_with_sample_stays():
    error = ValueError("sample toy/000007 has no volume")
    with pytest.raises(ValueError, match=r"^sample toy/000007 has no volume$") as info:
        apply_transforms(SAMPLE, [Raise(error)])
    assert info.value is error


class Strange(Exception):  # noqa: N818
    def __init__(self, one, two):
        super().__init__(one, two)


class Mute(Exception):  # noqa: N818
    def __str__(self):
        return "mute"


@pytest.mark.parametrize("error", [Strange(1, 2), Mute(), UnicodeDecodeError("utf-8", b"", 0, 1, "why")])
def test_unusual_error_becomes_runtime_error(error):
    with pytest.raises(RuntimeError, match=r"^toy/000007: Raise: ") as info:
        apply_transforms(SAMPLE, [Raise(error)])
    assert info.value.__cause__ is error


def test_transform_must_return_dict():
    with pytest.raises(TypeError, match=r"toy/000007: .*lambda.* must return a dict, got NoneType"):
        apply_transforms(SAMPLE, [lambda sample: None])


def test_error_names_missing_sample_id():
    with pytest.raises(ValueError, match=r"^a sample without sample_id: Raise: x"):
        apply_transforms({}, [Raise(ValueError("x"))])
