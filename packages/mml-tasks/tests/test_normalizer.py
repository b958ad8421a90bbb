import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mml_tasks import Normalizer
from mml_tasks.normalization import Scale
from mml_tasks.normalizer import Normalizers

moderate = st.floats(-1e3, 1e3)


@settings(max_examples=50, deadline=None)
@given(mean=moderate, std=st.floats(1e-2, 1e3), per_atom=st.booleans(), values=st.lists(moderate, min_size=1))
def test_norm_and_denorm_are_inverse(mean, std, per_atom, values):
    normalizer = Normalizer(mean, std, per_atom).double()
    natoms = torch.arange(1, len(values) + 1)
    for x in (torch.tensor(values).double().view(-1, 1), torch.tensor(values).double().view(-1, 1, 1)):
        torch.testing.assert_close(
            normalizer.denorm(normalizer.norm(x, natoms), natoms), x, rtol=1e-9, atol=1e-8
        )
        torch.testing.assert_close(
            normalizer.norm(normalizer.denorm(x, natoms), natoms), x, rtol=1e-7, atol=1e-5
        )


def test_the_shift_per_atom_grows_with_the_structure():
    normalizer = Normalizer(mean=-3.0, std=2.0, per_atom=True)
    energies = normalizer.denorm(torch.tensor([[1.0], [2.0]]), torch.tensor([1, 2]))
    assert energies.tolist() == [[-1.0], [-2.0]]


def test_a_mean_per_structure_does_not_need_atoms():
    assert Normalizer(mean=1.0, std=4.0).norm(torch.tensor([[9.0]])).item() == 2.0


def test_the_checkpoint_restores_all_numbers_and_the_flag():
    restored = Normalizer()
    restored.load_state_dict(Normalizer(-3.0, 2.0, per_atom=True).state_dict())
    x, natoms = torch.tensor([[5.0]]), torch.tensor([3])
    assert restored.norm(x, natoms).item() == 7.0
    assert restored.is_set
    assert "per_atom=True" in repr(restored)


def test_a_shift_per_atom_without_atoms_is_refused():
    with pytest.raises(ValueError, match="give natoms"):
        Normalizer(1.0, 1.0, per_atom=True).norm(torch.ones(2, 1))


@pytest.mark.parametrize("std", [0.0, -1.0, math.nan, math.inf])
def test_a_standard_deviation_that_cannot_divide_is_refused(std):
    with pytest.raises(ValueError, match="finite and greater than zero, got"):
        Normalizer(0.5, std)


def test_a_mean_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="mean of a normaliser must be finite, got nan"):
        Normalizer(math.nan)


def test_a_bad_number_names_its_target():
    with pytest.raises(ValueError, match=r"target 'band_gap': .* got 0\.0"):
        Normalizers({"band_gap": Normalizer()}).set_scales({"band_gap": Scale(mean=1.0, std=0.0)})


def test_what_has_no_normalizer_is_left_as_it_is():
    x = torch.randn(3, 7)
    normalizers = Normalizers({"energy": Normalizer(1.0, 2.0)})
    assert normalizers.norm("label", x, None) is x
    assert normalizers.denorm("label", x, None) is x
    assert normalizers.unset() == []
