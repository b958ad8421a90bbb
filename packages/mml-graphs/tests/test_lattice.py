import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mml_graphs.neighbors.lattice import cell_from_parameters, complete_cell, reduced_cell
from mml_graphs.testing import crystals

ALL = (True, True, True)
NONE = (False, False, False)


@given(crystals(max_atoms=1))
def test_good_cells_stay(crystal):
    cell = complete_cell(crystal.cell, crystal.pbc)
    np.testing.assert_array_equal(cell.matrix, crystal.cell)
    np.testing.assert_allclose(cell.matrix @ cell.inverse, np.eye(3), atol=1e-12)


@given(crystals(max_atoms=1), st.lists(st.tuples(*[st.integers(-9, 9)] * 3), max_size=4))
def test_reduced_cells_have_shortest_vectors(crystal, shears):
    periodic = np.array(crystal.pbc)
    matrix = crystal.cell.copy()
    for (i, j, _), (*_, times) in zip(shears, shears[::-1], strict=True):
        if i % 3 != j % 3 and periodic[[i % 3, j % 3]].all():
            matrix[i % 3] += times * matrix[j % 3]
    cell = complete_cell(matrix, crystal.pbc)
    reduced = reduced_cell(cell)
    vectors, normals = reduced.matrix[periodic], reduced.matrix[~periodic]
    change = vectors @ cell.inverse
    np.testing.assert_allclose(change, change.round(), atol=1e-6)
    assert abs(np.linalg.det(change[:, periodic])) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(reduced.matrix @ reduced.inverse, np.eye(3), atol=1e-9)
    assert reduced.pbc == crystal.pbc
    if periodic.any():
        np.testing.assert_allclose(normals @ normals.T, np.eye(len(normals)), atol=1e-9)
        np.testing.assert_allclose(vectors @ normals.T, 0, atol=1e-9)

    # Shortest first: none that a lattice vector beyond the ones before it is shorter than.
    shifts = np.array(list(product(range(-3, 4), repeat=len(vectors))))
    lengths = np.linalg.norm(shifts @ vectors, axis=1)
    for row, length in enumerate(np.linalg.norm(vectors, axis=1)):
        assert lengths[shifts[:, row:].any(axis=1)].min() == pytest.approx(length)


def test_a_missing_cell_is_a_unit_cell():
    assert complete_cell(None, NONE).matrix.tolist() == np.eye(3).tolist()
    assert complete_cell(np.zeros((3, 3)), NONE).matrix.tolist() == np.eye(3).tolist()


@pytest.mark.parametrize(
    ("rows", "pbc"),
    [
        ([[3, 1, 0], [0, 0, 0], [1, 2, 4]], (True, False, True)),
        ([[3, 1, 0], [0, 2, 2], [6, 2, 0]], (True, True, False)),
        ([[0, 0, 0], [0, 0, 0], [0, 1, -5]], (False, False, True)),
    ],
)
def test_missing_vectors_become_unit_normals(rows, pbc):
    given_rows = np.array(rows, dtype=float)
    matrix, inverse, _ = complete_cell(given_rows, pbc)
    periodic = np.array(pbc)
    np.testing.assert_array_equal(matrix[periodic], given_rows[periodic])
    filled = matrix[~periodic]
    np.testing.assert_allclose(filled @ filled.T, np.eye(len(filled)), atol=1e-12)
    np.testing.assert_allclose(filled @ matrix[periodic].T, 0, atol=1e-12)
    np.testing.assert_allclose(matrix @ inverse, np.eye(3), atol=1e-12)


@pytest.mark.parametrize(
    ("rows", "pbc"),
    [
        (np.zeros((3, 3)), ALL),
        (np.ones((3, 3)), ALL),
        (np.diag([3.0, 3.0, 1e-5]), ALL),
        (np.array([[3, 0, 0], [3, 0, 1e-7], [0, 3, 0]], dtype=float), ALL),
        (np.array([[3, 0, 0], [6, 0, 0], [0, 0, 3]], dtype=float), (True, True, False)),
        (np.diag([0.0, 3.0, 3.0]), (True, False, False)),
    ],
)
def test_cell_without_volume_raises(rows, pbc):
    with pytest.raises(ValueError, match="no volume in its periodic directions"):
        complete_cell(rows, pbc)


def test_flat_cells_are_accepted():
    angle = math.radians(1)
    rows = np.array([[3, 0, 0], [3 * math.cos(angle), 3 * math.sin(angle), 0], [0, 0, 3]])
    assert complete_cell(rows, ALL).matrix is rows


@given(
    st.tuples(*[st.floats(1, 20)] * 3),
    st.tuples(*[st.floats(60, 115)] * 3),
)
def test_vectors_equal_pymatgen(lengths, degrees):
    from pymatgen.core import Lattice

    cell = cell_from_parameters(np.array([*lengths, *np.radians(degrees)]))
    np.testing.assert_allclose(cell, Lattice.from_parameters(*lengths, *degrees).matrix, atol=1e-9)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ([3, 0, 3, 1.5, 1.5, 1.5], "a length that is not positive"),
        ([3, 3, 3, 90, 90, 90], "Convert angles in degrees to radians"),
        ([3, 3, 3, 0.3, 0.3, 2.0], "angles that are impossible in a cell"),
    ],
)
def test_bad_parameters_raise(parameters, message):
    with pytest.raises(ValueError, match=message):
        cell_from_parameters(np.array(parameters, dtype=float))
