import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mml_graphs.testing import crystals
from mml_graphs.transforms import UnitCellCalculator
from pymatgen.core import Lattice

angle, length = st.floats(0.9, 2.2), st.floats(0.5, 60)


@given(lengths=st.tuples(length, length, length), angles=st.tuples(angle, angle, angle))
@settings(max_examples=200)
def test_the_cell_is_pymatgens(lengths, angles):
    sample = {"lattice_params": torch.tensor([*lengths, *angles], dtype=torch.float64)}
    # The angles of a cell obey the triangle inequality on the sphere.
    small, middle, large = sorted(angles)
    if small + middle <= large + 1e-3 or sum(angles) >= 2 * np.pi - 1e-3:
        return
    cell = UnitCellCalculator()(sample)["cell"]
    expected = Lattice.from_parameters(*lengths, *np.degrees(angles)).matrix
    assert cell.shape == (1, 3, 3)
    np.testing.assert_allclose(cell[0], expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    "given_as",
    [
        {"lattice_params": [1.0, 2, 3, 1.5, 1.6, 1.7]},
        {"lattice_features": np.array([[1.0, 2, 3, 1.5, 1.6, 1.7]])},
        {"lattice_features": {"lattice_params": torch.tensor([1.0, 2, 3, 1.5, 1.6, 1.7])}},
        {"lattice_features": [1.0, 2, 3, 1.5, 1.6, 1.7], "lattice_params": [9.0] * 3 + [1.5] * 3},
    ],
)
def test_where_parameters_may_be(given_as):
    cell = UnitCellCalculator()(given_as)["cell"]
    np.testing.assert_allclose(torch.linalg.vector_norm(cell[0], dim=1), [1, 2, 3], rtol=1e-6)
    assert "cell" not in given_as


@given(crystal=crystals())
def test_existing_cell_keeps_orientation(crystal):
    lattice = Lattice(crystal.cell)
    sample = crystal.sample(lattice_params=[*lattice.abc, *np.radians(lattice.angles)])
    assert UnitCellCalculator()(sample)["cell"] is sample["cell"]
    longer = sample | {"lattice_params": [lattice.a + 0.1, lattice.b, lattice.c, *np.radians(lattice.angles)]}
    with pytest.raises(ValueError, match=r"'cell' has the lattice parameters .* but 'lattice_params' is"):
        UnitCellCalculator()(longer)
    assert UnitCellCalculator()(longer | {"cell": torch.zeros(1, 3, 3)})["cell"].any()


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ({}, "'lattice_features' and 'lattice_params' are missing"),
        ({"lattice_params": [1.0, 2, 3]}, "'lattice_params' has shape [3], expected [6]"),
        ({"lattice_params": [1.0, 1, 1, 90, 90, 90]}, "'lattice_params': lattice parameters"),
        ({"lattice_params": [1.0, 1, 1, 0.3, 0.3, 1.5]}, "angles that are impossible in a cell"),
        (
            {"lattice_params": [1.0, 1, np.nan, 1, 1, 1]},
            "'lattice_params' contains values that are not finite",
        ),
        (
            {"lattice_features": {"a": 1}},
            "'lattice_features' is a dict without 'lattice_params', only ['a']",
        ),
        (
            {"lattice_params": [1.0, 1, 1, 1.5, 1.5, 1.5], "cell": torch.ones(2, 3)},
            "'cell' has shape [2, 3], expected [1, 3, 3] or [3, 3]",
        ),
    ],
)
def test_bad_samples_raise(sample, message):
    with pytest.raises(ValueError, match="^sample 'x': .*" + re.escape(message)):
        UnitCellCalculator()(sample | {"sample_id": "x"})
