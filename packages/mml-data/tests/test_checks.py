import numpy as np
import pytest
import torch
from mml_data.store.checks import check_storable

WATER = {"atomic_numbers": np.array([1, 8]), "pos": np.zeros((2, 3)), "sample_id": "w"}


def test_arrays_and_tensors_are_storable():
    assert check_storable(WATER) == 2
    assert check_storable({key: torch.from_numpy(WATER[key]) for key in ("atomic_numbers", "pos")}) == 2


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"atomic_numbers": [1, 8]},
            TypeError,
            "atomic_numbers of sample 'w' must be an array .* got a list",
        ),
        ({"pbc": (True, True, False)}, TypeError, "pbc of sample 'w' must be an array .* got a tuple"),
        ({"pos": np.zeros((3, 3))}, ValueError, r"pos of sample 'w' has shape \[3, 3\], expected \[2, 3\]"),
        ({"targets": {"e": np.inf}}, ValueError, r"targets\.e of sample 'w' is infinite"),
    ],
)
def test_invalid_sample_raises(change, error, message):
    with pytest.raises(error, match=message):
        check_storable({**WATER, **change})


def test_fractional_positions_alone_raise():
    sample = {"atomic_numbers": np.array([1]), "frac_coords": np.zeros((1, 3)), "cell": np.eye(3)}
    with pytest.raises(ValueError, match=r"has no 'pos', its keys are .* Stored samples need"):
        check_storable(sample)
