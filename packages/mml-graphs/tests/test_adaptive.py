import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mml_graphs.neighbors import adaptive, native
from mml_graphs.neighbors.adaptive import adaptive_edges, first_step, nearest_distances
from mml_graphs.neighbors.backends import BACKENDS
from mml_graphs.neighbors.find_edges import search
from mml_graphs.neighbors.lattice import complete_cell
from mml_graphs.testing import assert_same_edges, brute_force_edges, crystals

NONE = (False, False, False)
ALL = (True, True, True)


def stepwise(crystal, cutoff):
    """What is meant: try one radius after the other."""
    radius, step = cutoff, 0
    while True:
        edges = brute_force_edges(*crystal, radius)
        if set(edges.src.tolist()) == set(range(len(crystal.positions))):
            return edges, radius
        step += 1
        radius = cutoff + 0.5 * step


@pytest.mark.parametrize("few", [adaptive.FEW, 0])
@given(
    crystal=crystals(min_length=3.0).filter(lambda c: any(c.pbc) or len(c.positions) > 1),
    cutoff=st.floats(0.3, 4.0),
)
def test_equals_stepwise_growth(few, crystal, cutoff):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adaptive, "FEW", few)  # 0: never estimate, grow only
        edges, radius = adaptive_edges(
            crystal.positions, complete_cell(crystal.cell, crystal.pbc), cutoff, "auto"
        )
    expected, expected_radius = stepwise(crystal, cutoff)
    assert radius == expected_radius
    assert_same_edges(edges, expected)


def test_growth_needs_two_searches(monkeypatch):
    radii = []

    def watched(positions, cell, radius, backend):
        radii.append(radius)
        return search(positions, cell, radius, backend)

    monkeypatch.setattr(adaptive, "search", watched)
    cell = complete_cell(np.eye(3) * 40.2, ALL)
    edges, radius = adaptive_edges(np.zeros((1, 3)), cell, 6.0, "auto")
    assert radii == [6.0, 40.5]
    assert radius == 40.5
    assert len(edges.src) == 6


def test_sufficient_cutoff_stays():
    cell = complete_cell(np.eye(3) * 3.0, ALL)
    edges, radius = adaptive_edges(np.zeros((1, 3)), cell, 3.0, "auto")
    assert radius == 3.0
    assert len(edges.src) == 6


@pytest.mark.parametrize(("length", "enough"), [(99.9, 100.0), (100.0, 100.0), (100.1, None)])
def test_growth_ends_at_100_angstrom(length, enough):
    cell = complete_cell(np.eye(3) * length, ALL)
    if enough is None:
        with pytest.raises(
            ValueError, match=r"atom 0 has no neighbor within 100 .* a cutoff of 100.10 angstrom is needed"
        ):
            adaptive_edges(np.zeros((1, 3)), cell, 6.3, "auto")
    else:
        assert adaptive_edges(np.zeros((1, 3)), cell, 6.3, "auto")[1] == enough


@pytest.mark.parametrize("few", [adaptive.FEW, 0])
@pytest.mark.parametrize("backend", [b for b in BACKENDS if b != "native" or native.available()])
@pytest.mark.parametrize(
    ("positions", "radius", "degrees"),
    [
        ([[0, 0, 0]], 6.0, [0]),
        ([[0, 0, 0], [0, 300, 0], [0, 0, 550]], 6.0, [0, 0, 0]),
        ([[0, 0, 0], [1, 0, 0], [0, 300, 0], [0, 0, 550]], 6.0, [1, 1, 0, 0]),
        ([[0, 300, 0], [0, 0, 0], [9.2, 0, 0], [0, 0, 20.2]], 20.5, [0, 2, 1, 1]),
        ([[0, 0, 0], [100, 0, 0]], 100.0, [1, 1]),
    ],
)
def test_free_atoms_keep_the_cutoff(monkeypatch, few, backend, positions, radius, degrees):
    monkeypatch.setattr(adaptive, "FEW", few)
    positions = np.array(positions, dtype=float)
    edges, found = adaptive_edges(positions, complete_cell(None, NONE), 6.0, backend)
    assert found == radius
    assert np.bincount(edges.src, minlength=len(positions)).tolist() == degrees
    assert_same_edges(edges, brute_force_edges(positions, None, NONE, radius))


def test_periodic_isolated_atoms_raise():
    positions, cell = np.array([[0.0, 0, 0], [1, 0, 0], [0, 300, 0]]), np.diag([1000.0, 1000, 1000])
    with pytest.raises(ValueError, match=r"atom 2 has no neighbor .* a cutoff of 300.00 angstrom"):
        adaptive_edges(positions, complete_cell(cell, (True, False, False)), 6.0, "auto")


@given(st.floats(0.01, 120), st.floats(0.01, 120))
def test_first_step(cutoff, needed):
    step = first_step(cutoff, needed)
    if needed <= cutoff:
        assert step == cutoff
    elif needed >= 100:
        assert step == max(cutoff, 100)
    else:
        candidates = [min(cutoff + 0.5 * k, 100.0) for k in range(250)]
        assert step == next(radius for radius in candidates if radius >= needed)


@given(crystals(min_length=3.0).filter(lambda c: any(c.pbc) or len(c.positions) > 1))
def test_nearest_distances(crystal):
    cell = complete_cell(crystal.cell, crystal.pbc)
    found = nearest_distances(crystal.positions, cell, np.arange(len(crystal.positions)))
    edges = brute_force_edges(*crystal, float(found.max()) + 1e-9)
    exact = [edges.distances[edges.src == atom].min() for atom in range(len(found))]
    np.testing.assert_allclose(found, exact)


def test_skewed_cells_are_not_searched_too_far(monkeypatch):
    radii = []

    def watched(positions, cell, radius, backend):
        radii.append(radius)
        return search(positions, cell, radius, backend)

    monkeypatch.setattr(adaptive, "search", watched)
    cell = complete_cell(np.array([[7.0, 0, 0], [70, 7, 0], [35, 63, 7]]), ALL)
    assert adaptive_edges(np.zeros((1, 3)), cell, 3.0, "auto")[1] == 7.0
    assert radii == [3.0, 7.0]


def test_single_atom_has_no_nearest_neighbor():
    alone = nearest_distances(np.zeros((1, 3)), complete_cell(None, NONE), np.zeros(1, dtype=np.int64))
    assert alone.tolist() == [math.inf]
