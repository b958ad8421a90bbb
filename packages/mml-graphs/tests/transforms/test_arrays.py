import numpy as np
import pytest
import torch
from mml_graphs.transforms._arrays import floats, positions, tensor


def test_integers_become_default_floats():
    assert floats("x", [1, 2]).dtype == torch.get_default_dtype()
    assert floats("x", np.zeros(2)).dtype == torch.float64


def test_read_only_arrays_are_copied():
    array = np.zeros(2)
    array.flags.writeable = False
    tensor("x", array)[0] = 1.0
    assert array[0] == 0.0


def test_positions_are_computed_from_fractional_coordinates():
    sample = {"atomic_numbers": [1], "frac_coords": [[0.5, 0, 0]], "cell": np.eye(3) * 4}
    assert positions(sample).tolist() == [[2.0, 0.0, 0.0]]


@pytest.mark.parametrize(
    ("holder", "message"),
    [
        ({}, r"'pos' is missing, expected positions \[N, 3\]"),
        ({"pos": torch.zeros(2, 2)}, r"'pos' has shape \[2, 2\]"),
        ({"pos": torch.tensor([[0.0, 0, 0], [0, 0, np.nan]])}, "'pos' of atom 1 is not finite"),
        ({"pos": "abc"}, "'pos' is of type str"),
    ],
)
def test_bad_positions_raise(holder, message):
    with pytest.raises(ValueError, match=message):
        positions(holder)
