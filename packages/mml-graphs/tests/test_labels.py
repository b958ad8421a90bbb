import numpy as np
import pytest
import torch
from mml_graphs._labels import exact


@pytest.mark.parametrize("value", [1.5, np.float32(1.5), np.full(1, 1.5, np.float32), torch.tensor(1.5)])
def test_floats_become_float64(value):
    assert exact(value).dtype == torch.float64
    assert exact(value).item() == 1.5


def test_large_energies_keep_their_digits():
    assert exact(-123456.789012).item() == -123456.789012


@pytest.mark.parametrize("value", [3, "label", torch.tensor([1, 2]), None])
def test_other_values_stay(value):
    assert exact(value) is value
