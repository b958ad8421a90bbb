from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mml_models.adapters.triplets import find_triplets
from mml_models.batch import read_graph
from mml_models.layers.edges import Edges, edges_within
from mml_models.testing import crystal_batch, random_crystal

CUTOFF = 3.5


def by_brute_force(edges):
    """Try every pair of edges."""
    found = set()
    for second in range(len(edges.center)):
        for first in range(len(edges.center)):
            chained = edges.center[first] == edges.neighbor[second]
            returns = (
                edges.neighbor[first] == edges.center[second]
                and (edges.vectors[first] + edges.vectors[second]).norm() < 1e-6
            )
            if chained and not returns:
                found.add((second, first))
    return found


@settings(max_examples=20)
@given(st.lists(st.builds(random_crystal, st.integers(0, 10**6), st.integers(1, 3)), min_size=1, max_size=2))
def test_triplets_equal_brute_force(crystals):
    graph = read_graph(crystal_batch(crystals, CUTOFF))
    edges = edges_within(graph, CUTOFF, torch.float64)
    order = torch.randperm(len(edges.center), generator=torch.Generator().manual_seed(len(edges.center)))
    for e in (edges, Edges(*(value[order] for value in vars(edges).values()))):
        second, first = find_triplets(e)
        assert set(zip(second.tolist(), first.tolist(), strict=True)) == by_brute_force(e)
        assert len(second) == len(by_brute_force(e))


def test_image_of_center_is_included():
    """In a chain of one atom, each edge is followed by an edge that continues and by one that returns."""
    ahead = torch.tensor([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
    zero = torch.zeros(2, dtype=torch.int64)
    second, first = find_triplets(Edges(zero, zero, ahead, torch.ones(2)))
    assert second.tolist() == first.tolist() == [0, 1]


def test_no_edges_give_no_triplets():
    none = torch.zeros(0, dtype=torch.int64)
    second, first = find_triplets(Edges(none, none, torch.zeros(0, 3), torch.zeros(0)))
    assert second.shape == first.shape == (0,)
