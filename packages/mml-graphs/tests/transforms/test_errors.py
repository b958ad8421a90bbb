import pytest
from mml_graphs.transforms._errors import finite, key_name, naming, positive


def test_errors_name_the_sample():
    with pytest.raises(ValueError, match=r"^sample 'x': no good$"), naming({"sample_id": "x"}):
        raise ValueError("no good")


def test_numbers_become_floats():
    assert type(finite("scale", 2)) is float
    assert positive("scale", 0.5) == 0.5
    assert finite("scale", -1) == -1.0


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "2", True, None])
def test_values_that_are_not_finite_numbers_raise(value):
    with pytest.raises(ValueError, match=f"scale must be a finite number, got {value!r}"):
        finite("scale", value)


def test_zero_is_not_positive():
    with pytest.raises(ValueError, match=r"scale must be a positive number, got 0\.0"):
        positive("scale", 0.0)


@pytest.mark.parametrize("value", ["", 3, None])
def test_bad_key_names_raise(value):
    with pytest.raises(ValueError, match=f"key must be the name of a key, got {value!r}"):
        key_name("key", value)
