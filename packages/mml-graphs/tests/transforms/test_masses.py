import numpy as np
import pytest
import torch
from ase.data import atomic_masses as ase_masses
from mml_graphs.transforms._masses import atomic_masses


def test_masses_equal_those_of_ase():
    ours, theirs = atomic_masses(torch.arange(1, 119)).numpy(), ase_masses[1:119]
    # Two tables of standard masses; radioactive elements have no standard one, and conventions differ.
    stable = np.r_[0:42, 43:60, 61:83, 89, 91]
    np.testing.assert_allclose(ours[stable], theirs[stable], rtol=1e-3)
    assert (ours > 0).all()


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        (torch.tensor([1, 119]), "'atomic_numbers' of atom 1 is 119, expected 1 to 118"),
        (torch.tensor([1.0]), "dtype torch.float32, expected"),
        (torch.tensor([[1]]), r"has shape \[1, 1\]"),
    ],
)
def test_unknown_elements_raise(numbers, message):
    with pytest.raises(ValueError, match=message):
        atomic_masses(numbers)
