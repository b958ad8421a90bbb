import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mml_graphs.device.triangular import turn, wrap
from mml_graphs.neighbors.lattice import complete_cell
from mml_graphs.testing import crystals

quick = settings(max_examples=60)


def turned(positions, cell, pbc, radius=3.0):
    """A batch of one structure without atoms and one with atoms."""
    batch = torch.ones(len(positions), dtype=torch.int64)
    cells = torch.stack([torch.full((3, 3), torch.nan, dtype=torch.float64), torch.tensor(cell)])
    occupied = torch.tensor([False, True])
    frame = turn(torch.tensor(positions), cells, torch.tensor([pbc, pbc]), batch, occupied, radius)
    return frame, wrap(torch.tensor(positions), frame, batch)


def matrix(frame):
    result = np.zeros((3, 3))
    result[np.tril_indices(3)] = frame.vectors[:, 1].numpy()
    return result


@given(crystal=crystals())
@quick
def test_turning_keeps_lengths_and_angles(crystal):
    frame, _ = turned(*crystal)
    basis, axes = frame.basis[:, :, 1].numpy(), frame.axes[1].numpy()
    np.testing.assert_allclose(basis @ basis.T, np.eye(3), atol=1e-12)
    periodic = np.array(crystal.pbc)[axes]
    assert (np.diff(periodic.astype(int)) <= 0).all()
    vectors = crystal.cell[axes][periodic]
    assert (np.diff(np.linalg.norm(vectors, axis=1)) >= 0).all()
    np.testing.assert_allclose(matrix(frame)[periodic], vectors @ basis.T, atol=1e-12)


@given(crystal=crystals(), radius=st.sampled_from([0.5, 3.0]))
@quick
def test_open_directions_have_long_periods(crystal, radius):
    frame, wrapped = turned(*crystal, radius)
    inverse = np.linalg.inv(matrix(frame))
    np.testing.assert_allclose(frame.reach[:, 1], radius * np.linalg.norm(inverse, axis=0))
    lacking = ~np.array(crystal.pbc)[frame.axes[1]]
    spread = np.ptp(wrapped.coordinates.numpy(), axis=1)
    assert (np.diag(matrix(frame))[lacking] - spread[lacking] > 1.5 * radius).all()
    assert not wrapped.shifts[torch.tensor(lacking)].any()


@given(crystal=crystals())
@quick
def test_wrapping_subtracts_lattice_vectors(crystal):
    frame, wrapped = turned(*crystal)
    fractions, coordinates, shifts = (part.double().numpy() for part in wrapped)
    assert (fractions >= 0).all()
    assert (fractions <= 1).all()
    np.testing.assert_allclose(coordinates.T, fractions.T @ matrix(frame), atol=1e-12)
    home = coordinates.T + shifts.T @ matrix(frame) + frame.origin[:, 1].numpy()
    np.testing.assert_allclose(home @ frame.basis[:, :, 1].numpy(), crystal.positions, atol=1e-9)


@pytest.mark.parametrize("tilt", [0.0, 1e-7, 1e-5, 1e-3])
@pytest.mark.parametrize("pbc", [(True, True, True), (True, True, False), (True, False, False)])
@pytest.mark.parametrize("short", [1.0, 1e-4])
def test_cells_without_volume_are_flat(tilt, pbc, short):
    cell = np.array([[3.0, 0, 0], [3.0, 3 * tilt, 0], [0, 0, short]])
    frame, _ = turned(np.zeros((1, 3)), cell, pbc)
    try:
        complete_cell(cell, pbc)
        flat = False
    except ValueError:
        flat = True
    assert frame.flat.tolist() == [False, flat]
