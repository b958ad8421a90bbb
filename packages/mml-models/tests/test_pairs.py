from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mml_models.batch import AtomGraph, read_graph
from mml_models.layers.edges import Edges, edges_within
from mml_models.layers.pairs import find_pairs
from mml_models.testing import crystal_batch, random_crystal


def edges_of(*crystals, dtype=torch.float64, cutoff=4.0):
    return edges_within(read_graph(crystal_batch(crystals, cutoff)), cutoff, dtype)


def taken(edges, kept):
    return Edges(*(getattr(edges, name)[kept] for name in ("center", "neighbor", "vectors", "distances")))


crystals = st.builds(random_crystal, st.integers(0, 10**6), st.integers(1, 4))


@given(
    st.lists(crystals, min_size=1, max_size=3), st.sampled_from([torch.float32, torch.float64]), st.randoms()
)
def test_pairs_are_opposite_edges(some, dtype, random):
    edges = edges_of(*some, dtype=dtype)
    order = list(range(len(edges.center)))
    random.shuffle(order)
    edges = taken(edges, torch.tensor(order))
    pairs = find_pairs(edges)
    forth, back = pairs.edges
    assert sorted(torch.cat((forth, back)).tolist()) == list(range(len(order)))
    assert torch.equal(edges.center[forth], edges.neighbor[back])
    assert torch.equal(edges.neighbor[forth], edges.center[back])
    torch.testing.assert_close(edges.vectors[forth], -edges.vectors[back], atol=1e-5, rtol=0)
    torch.testing.assert_close(pairs.spread(pairs.first(edges.distances)), edges.distances)


def test_images_in_cubic_lattice_are_distinguished():
    """Many edges join the same two atoms and have the same length."""
    crystal = random_crystal(0, 1)
    crystal = replace(crystal, cell=2.5 * torch.eye(3, dtype=torch.float64))
    edges = edges_of(crystal, cutoff=6.0)
    pairs = find_pairs(edges)
    assert len(edges.center) == 2 * len(pairs.edges[0]) > 50
    torch.testing.assert_close(edges.vectors[pairs.edges[0]], -edges.vectors[pairs.edges[1]])


def one_way(edges):
    return taken(edges, edges.center < edges.neighbor)


def one_missing(edges):
    return taken(edges, torch.arange(len(edges.center) - 1))


def two_missing(edges):
    return taken(edges, torch.arange(len(edges.center) - 2))


def moved(edges):
    return replace(edges, vectors=edges.vectors + 0.01)


def undefined(edges):
    vectors = edges.vectors.clone()
    vectors[3] = torch.nan
    return replace(edges, vectors=vectors)


def none(edges):
    return taken(edges, slice(0, 0))


@pytest.mark.parametrize("change", [one_way, one_missing, two_missing, moved, undefined, none])
def test_unmatched_edges_are_their_own_pairs(change):
    edges = change(edges_of(random_crystal(1, 4), random_crystal(2, 3)))
    pairs = find_pairs(edges)
    assert pairs.edges is None
    assert pairs.of_edge is None
    assert pairs.first(edges.distances) is edges.distances
    assert pairs.spread(edges.distances) is edges.distances


def test_one_way_edges_are_not_paired():
    pos = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    index = torch.tensor([[0, 2], [1, 0]])
    graph = AtomGraph(
        torch.ones(3, dtype=torch.int64), pos, index, None, torch.zeros(3, dtype=torch.int64), 1
    )
    assert find_pairs(edges_within(graph, 3.0, torch.float32)).edges is None
