import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mml_data.importers.readers import units

ase_units = pytest.importorskip("ase.units")
NUMBERS = st.lists(st.floats(-100, 100), min_size=6, max_size=6)


def test_constants_agree_with_ase():
    ours = (units.HARTREE, units.BOHR, units.KCAL_PER_MOL, units.KBAR)
    theirs = (ase_units.Hartree, ase_units.Bohr, ase_units.kcal / ase_units.mol, ase_units.GPa / 10)
    np.testing.assert_allclose(ours, theirs, rtol=1e-7)


@given(NUMBERS)
def test_symmetric_inverts_voigt(values):
    from ase.stress import full_3x3_to_voigt_6_stress

    np.testing.assert_array_equal(full_3x3_to_voigt_6_stress(units.symmetric(values)), values)


def test_virial_of_flat_cell_has_no_stress():
    assert units.stress_from_virial(np.eye(3), np.zeros((3, 3))) is None
    np.testing.assert_allclose(units.stress_from_virial(np.eye(3), 2 * np.eye(3)), -np.eye(3) / 8)


def test_wrong_number_of_components_raises():
    with pytest.raises(ValueError, match=r"six components xx yy zz .*got the shape \[5\]"):
        units.symmetric([1, 2, 3, 4, 5])
