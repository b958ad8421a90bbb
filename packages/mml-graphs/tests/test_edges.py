import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mml_graphs.neighbors.edges import (
    Edges,
    isolated_atoms,
    nearest_lengths,
    nearest_neighbors,
    one_per_pair,
    with_exact_lengths,
    with_self_loops,
)
from mml_graphs.neighbors.find_edges import find_edges
from mml_graphs.neighbors.lattice import complete_cell
from mml_graphs.testing import assert_same_edges, brute_force_edges, crystals

quick = settings(max_examples=40)
ALL = (True, True, True)


def reverse(edges):
    return Edges(edges.dst, edges.src, -edges.images, edges.distances)


def join(*several):
    return Edges(*(np.concatenate(arrays) for arrays in zip(*several, strict=True)))


def nearest_by_hand(edges, num_atoms, k, tolerance, symmetric):
    """One atom after the other, one edge after the other."""
    reach = {}
    for atom in range(num_atoms):
        lengths = sorted(edges.distances[edges.src == atom].tolist())
        reach[atom] = lengths[k - 1] + tolerance if len(lengths) > k else np.inf
    keep = [
        distance <= reach[i] or (symmetric and distance <= reach[j])
        for i, j, distance in zip(edges.src, edges.dst, edges.distances, strict=True)
    ]
    return edges.take(np.array(keep, dtype=bool))


@given(
    crystal=crystals(), k=st.integers(1, 14), symmetric=st.booleans(), tolerance=st.sampled_from([0.01, 0.3])
)
@quick
def test_nearest_neighbors_equal_oracle(crystal, k, symmetric, tolerance):
    num_atoms = len(crystal.positions)
    edges = brute_force_edges(*crystal, 5.0)
    kept = nearest_neighbors(edges, num_atoms, k, tolerance, symmetric)
    assert_same_edges(kept, nearest_by_hand(edges, num_atoms, k, tolerance, symmetric))
    assert (
        np.bincount(kept.src, minlength=num_atoms)
        >= np.minimum(np.bincount(edges.src, minlength=num_atoms), k)
    ).all()
    if symmetric:
        assert_same_edges(kept, reverse(kept))


@pytest.mark.parametrize(("k", "degree"), [(1, 12), (12, 12), (13, 18), (18, 18), (19, 42)])
def test_whole_shells_stay_in_fcc(k, degree):
    cell = np.array([[0, 2, 2], [2, 0, 2], [2, 2, 0]], dtype=float)
    edges = find_edges(np.zeros((1, 3)), cell, ALL, 5.0)
    assert len(nearest_neighbors(edges, 1, k, 0.01, False).src) == degree


@given(crystal=crystals())
@quick
def test_pairs_and_reverses_equal_edges(crystal):
    edges = brute_force_edges(*crystal, 5.0)
    half = one_per_pair(edges)
    assert (half.src <= half.dst).all()
    assert_same_edges(join(half, reverse(half)), edges)


@given(crystal=crystals())
@quick
def test_self_loops_are_in_order(crystal):
    num_atoms = len(crystal.positions)
    edges = brute_force_edges(*crystal, 4.0)
    looped = with_self_loops(edges, num_atoms)
    assert (np.diff(looped.src) >= 0).all()
    loops = (looped.src == looped.dst) & ~looped.images.any(axis=1)
    assert looped.src[loops].tolist() == list(range(num_atoms))
    assert not looped.distances[loops].any()
    assert_same_edges(looped.take(~loops), edges)


def test_isolated_atoms_have_no_edge():
    positions = np.array([[0, 0, 0], [9, 0, 0], [0, 1, 0], [0, 0, 30.0]])
    assert isolated_atoms(find_edges(positions, None, (False,) * 3, 2.0), 4).tolist() == [1, 3]


@given(crystal=crystals(), cutoff=st.integers(2, 24).map(lambda n: n / 4), seed=st.integers(0, 99))
@quick
def test_exact_lengths_equal_those_of_reverse_edges(crystal, cutoff, seed):
    q = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]  # so that coordinates are rounded
    positions, cell = crystal.positions @ q, complete_cell(crystal.cell @ q, crystal.pbc)
    edges = with_exact_lengths(positions, cell, find_edges(positions, cell.matrix, crystal.pbc, cutoff))
    assert_same_edges(edges, reverse(edges), atol=0.0)


@given(crystal=crystals(), cutoff=st.sampled_from([1.0, 4.0]))
@quick
def test_nearest_lengths_equal_minima(crystal, cutoff):
    edges = brute_force_edges(*crystal, cutoff)
    num_atoms = len(crystal.positions)
    expected = [min(edges.distances[edges.src == atom], default=np.inf) for atom in range(num_atoms)]
    assert nearest_lengths(edges, num_atoms).tolist() == expected
