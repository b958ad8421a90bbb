import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mml_data.importers.contacts import check_contacts, frames_with_contacts
from mml_data.physics.radii import COVALENT_RADII


def smallest_ratio(numbers, positions, cell, pbc):
    """Brute force: the smallest distance divided by its limit, over all images."""
    reach = [range(-4, 5) if flag else range(1) for flag in pbc]
    best = np.inf
    for image in itertools.product(*reach):
        shift = np.array(image) @ (np.zeros((3, 3)) if cell is None else cell)
        for i, j in itertools.product(range(len(numbers)), repeat=2):
            if i != j or any(image):
                limit = max(0.3, 0.4 * (COVALENT_RADII[numbers[i]] + COVALENT_RADII[numbers[j]]))
                best = min(best, np.linalg.norm(positions[j] + shift - positions[i]) / limit)
    return best


@st.composite
def structures(draw):
    seed = draw(st.integers(0, 10_000))
    rng = np.random.default_rng(seed)
    num_atoms = draw(st.integers(1, 5))
    size = draw(st.sampled_from([0.8, 1.5, 3.0, 6.0]))
    pbc = np.array(draw(st.tuples(*[st.booleans()] * 3)))
    cell = np.eye(3) * size + rng.uniform(-0.25, 0.25, (3, 3)) * size
    if draw(st.booleans()) and not pbc[2]:
        cell[2] = 0
    if not pbc.any() and draw(st.booleans()):
        cell = None
    positions = rng.uniform(-2, 2, (num_atoms, 3)) * size
    return rng.choice([1, 8, 29, 55], num_atoms), positions, cell, pbc


@settings(max_examples=60, deadline=None)
@given(st.lists(structures(), min_size=1, max_size=6))
def test_contacts_equal_brute_force(frames):
    ratios = [smallest_ratio(*frame) for frame in frames]
    found = frames_with_contacts(*zip(*frames, strict=True))
    for index, (frame, ratio) in enumerate(zip(frames, ratios, strict=True)):
        if abs(ratio - 1) < 2e-3:
            continue  # float32 may report a distance just above the limit
        assert (index in found) == (ratio < 1)
        if ratio < 1:
            with pytest.raises(ValueError, match=r"angstrom apart; .*--allow-close"):
                check_contacts(*frame)
        else:
            check_contacts(*frame)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.booleans(), st.tuples(*[st.booleans()] * 3))
def test_contact_in_large_structure_is_found(seed, is_close, pbc):
    rng = np.random.default_rng(seed)
    grid = np.array(list(itertools.product(range(6), repeat=3))) * 2.6
    positions = grid + rng.uniform(-0.2, 0.2, grid.shape)
    cell = np.eye(3) * 15.6
    cell[1, 0] = 5.2
    atom = rng.integers(len(grid))
    if is_close:
        positions[(atom + 100) % len(grid)] = positions[atom] + [0.3, 0.2, 0.1] + cell[0] * pbc[0]
    frame = (np.full(len(grid), 29), positions, cell, np.array(pbc))
    assert frames_with_contacts(*zip(frame, strict=True)) == [0] * is_close


def test_message_names_pair():
    with pytest.raises(ValueError, match=r"^atoms 0 and 1 \(Cu and O\) are 0\.1 angstrom apart"):
        check_contacts(np.array([29, 8]), np.array([[0.0, 0, 0], [0, 0, 0.1]]), None, np.zeros(3, bool))
    with pytest.raises(ValueError, match=r"^atom 0 \(Cu\) and its periodic image are 0\.5 angstrom apart"):
        check_contacts(np.array([29]), np.zeros((1, 3)), np.eye(3) * 0.5, np.ones(3, bool))


def test_radii_equal_those_of_ase():
    data = pytest.importorskip("ase.data")
    np.testing.assert_array_equal(COVALENT_RADII, data.covalent_radii)


def test_thin_cell_raises():
    cell = np.diag([5.0, 0.001, 0.001])
    frame = (np.array([29]), np.zeros((1, 3)), cell, np.ones(3, bool))
    for check in (lambda: check_contacts(*frame), lambda: frames_with_contacts(*zip(frame, strict=True))):
        with pytest.raises(ValueError, match=r"lattice planes are 0\.001 angstrom apart"):
            check()
