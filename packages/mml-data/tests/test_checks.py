import numpy as np
import pytest
import torch
from mml_data.store.checks import check_sample

GOOD = {"atomic_numbers": np.array([1, 8]), "pos": np.zeros((2, 3))}


def test_what_may_be_stored():
    assert check_sample(GOOD) == 2
    assert check_sample({key: torch.from_numpy(value) for key, value in GOOD.items()}) == 2
    lattice = {"cell": np.eye(3), "pbc": np.ones(3, bool), "lattice_params": np.ones(6)}
    targets = {
        "a": 1,
        "b": np.nan,
        "c": np.zeros((2, 5)),
        "d": torch.zeros(1, 3, 3),
        "e": True,
        "f": np.float32(2),
    }
    assert check_sample({**GOOD, **lattice, "targets": targets, "anything": "else"}) == 2
    assert check_sample({**GOOD, "cell": np.eye(3)[None]}) == 2


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"atomic_numbers": np.array([1.0, 8.0])}, ValueError, r"\[N\] integers .* this is \[2\] float64"),
        ({"atomic_numbers": np.array([], int)}, ValueError, r"N >= 1, this is \[0\]"),
        ({"atomic_numbers": np.array([0, 1])}, ValueError, "from 1 to 118, these go from 0 to 1"),
        ({"atomic_numbers": np.array([1, 119])}, ValueError, "from 1 to 118, these go from 1 to 119"),
        ({"atomic_numbers": [1, 8]}, TypeError, "must be an array or a tensor, this is a list"),
        ({"pos": np.zeros((3, 3))}, ValueError, r"pos must be \[2, 3\] .*, this is \[3, 3\]"),
        ({"pos": np.array([["a"] * 3] * 2)}, TypeError, "pos must hold numbers"),
        ({"pos": np.array([[0, 0, 0], [0, np.nan, 0]])}, ValueError, r"pos is not finite at index \[1, 1\]"),
        ({"pos": np.full((2, 3), np.inf)}, ValueError, "pos is not finite"),
        ({"cell": np.full((3, 3), np.nan)}, ValueError, "cell is not finite"),
        ({"cell": np.zeros(9)}, ValueError, r"cell must be \[3, 3\] or \[1, 3, 3\], this is \[9\]"),
        ({"pbc": np.ones(2, bool)}, ValueError, r"pbc must be \[3\], this is \[2\]"),
        ({"lattice_params": np.ones((2, 6))}, ValueError, r"lattice_params must be \[6\]"),
        ({"targets": [1.0]}, TypeError, "targets must be a dict of name to value, this is a list"),
        ({"targets": {"e": None}}, TypeError, "target 'e' is a NoneType: .* or leave it out"),
        ({"targets": {"e": [1.0]}}, TypeError, "target 'e' is a list"),
        ({"targets": {"e": np.inf}}, ValueError, "target 'e' is infinite"),
        ({"targets": {"f": np.zeros((3, 3))}}, ValueError, r"is \[3, 3\]: .* must be 2 or 1"),
    ],
)  # fmt: skip
def test_what_may_not(change, error, message):
    with pytest.raises(error, match=message):
        check_sample({**GOOD, **change})


def test_missing_keys_and_other_types():
    with pytest.raises(ValueError, match="a sample needs 'pos', this one has atomic_numbers"):
        check_sample({"atomic_numbers": np.array([1])})
    with pytest.raises(ValueError, match="a sample needs 'atomic_numbers', this one has no keys"):
        check_sample({})
    with pytest.raises(TypeError, match="a sample is a dict, this is a list"):
        check_sample([1])
