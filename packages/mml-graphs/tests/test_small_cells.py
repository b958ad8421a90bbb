import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mml_graphs.lattice import complete_cell
from mml_graphs.neighbors import Edges
from mml_graphs.small_cells import group_edges
from mml_graphs.testing import assert_same_edges, brute_force_edges, crystals

cutoffs = st.integers(2, 32).map(lambda n: n / 4 + 1 / 32)  # no distance of a drawn crystal is within 1e-6


def parts(found, sizes):
    """Split the edges of a group by structure."""
    edges, atom, edge = found.edges, 0, 0
    for size, count in zip(sizes, found.counts.tolist(), strict=True):
        rows = slice(edge, edge + count)
        yield Edges(edges.src[rows] - atom, edges.dst[rows] - atom, edges.images[rows], edges.distances[rows])
        atom, edge = atom + size, edge + count


@given(some=st.lists(crystals(), min_size=1, max_size=5), cutoff=cutoffs)
@settings(max_examples=80, deadline=None)
def test_the_edges_of_each_structure_are_those_of_the_oracle(some, cutoff):
    cells = [complete_cell(crystal.cell, crystal.pbc) for crystal in some]
    found = group_edges([crystal.positions for crystal in some], cells, cutoff)
    sizes = [len(crystal.positions) for crystal in some]
    for crystal, edges, settled in zip(some, parts(found, sizes), found.settled, strict=True):
        expected = brute_force_edges(*crystal, cutoff)
        every_atom_has_one = len(np.unique(expected.src)) == len(crystal.positions)
        if settled:
            assert_same_edges(edges, expected)
        else:
            squares = [
                np.square(expected.distances),
                np.square(brute_force_edges(*crystal, cutoff + 1e-5).distances),
            ]
            near = np.abs(np.sqrt(np.concatenate(squares)) - cutoff) < 2e-6
            assert not every_atom_has_one or near.any()
    assert np.all(np.diff(found.edges.src) >= 0)
    assert found.counts.sum() == len(found.edges.src)


@given(some=st.lists(crystals(), min_size=1, max_size=3), cutoff=cutoffs)
@settings(max_examples=40, deadline=None)
def test_unit_offsets_are_the_edges_in_fractional_coordinates(some, cutoff):
    cells = [complete_cell(crystal.cell, crystal.pbc) for crystal in some]
    found = group_edges([crystal.positions for crystal in some], cells, cutoff)
    edges, positions = found.edges, np.concatenate([crystal.positions for crystal in some])
    matrices = np.repeat([cell.matrix for cell in cells], found.counts, axis=0)
    np.testing.assert_allclose(found.offsets, np.einsum("ei,eij->ej", edges.images, matrices), atol=1e-9)
    vectors = positions[edges.dst] + found.offsets - positions[edges.src]
    np.testing.assert_allclose(np.einsum("ei,eij->ej", found.unit_offsets, matrices), vectors, atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), edges.distances, atol=1e-9)


@pytest.mark.parametrize(
    ("positions", "pbc", "why"),
    [
        ([[0.0, 0, 0], [9.0, 9, 9]], (False,) * 3, "an isolated atom"),
        ([[0.0, 0, 0], [4.0, 0, 0]], (False,) * 3, "a pair at the cutoff"),
        ([[0.0, 0, 0], [1e-6, 0, 0], [2.0, 0, 0]], (True,) * 3, "two atoms in one place"),
    ],
)
def test_what_a_single_search_has_to_decide_is_said(positions, pbc, why):
    plain = (np.zeros((1, 3)), complete_cell(np.eye(3) * 3.0, (True,) * 3))
    special = (np.array(positions), complete_cell(np.eye(3) * 20.0, pbc))
    found = group_edges(*zip(plain, special, plain, strict=True), 4.0)
    assert found.settled.tolist() == [True, False, True], why


@pytest.mark.parametrize("angle", [60.0, 20.0, 5.0])
def test_flat_cells_lose_no_precision(angle):
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    slope = np.deg2rad(angle)
    cell = np.array([[3.0, 0, 0], [3.5 * np.cos(slope), 3.5 * np.sin(slope), 0], [1.0, 2.0, 4.0]]) @ turn
    atom = np.zeros((1, 3))
    found = group_edges([atom], [complete_cell(cell, (True,) * 3)], 6.3)
    assert_same_edges(found.edges, brute_force_edges(atom, cell, (True,) * 3, 6.3), atol=1e-11)
