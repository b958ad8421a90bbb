import numpy as np
import pytest
import torch
from hypothesis import find, given, settings
from mml_graphs.libraries.graph_data import GraphData
from mml_graphs.neighbors.edges import Edges
from mml_graphs.testing import (
    assert_same_edges,
    assert_same_graph,
    brute_force_edges,
    crystals,
    graphs_alike,
)

CUBIC = (np.zeros((1, 3)), np.eye(3) * 3.0)


@pytest.mark.parametrize(
    ("pbc", "cutoff", "number"),
    [
        ((True, True, True), 2.9, 0),
        ((True, True, True), 3.0, 6),
        ((True, True, True), 4.5, 18),
        ((True, True, False), 3.0, 4),
        ((False, True, False), 6.0, 4),
        ((False, False, False), 9.0, 0),
    ],
)
def test_the_oracle_counts_shells(pbc, cutoff, number):
    assert len(brute_force_edges(*CUBIC, pbc, cutoff).src) == number


def test_oracle_wraps_atoms():
    positions = np.array([[0.0, 0, 0], [31.0, 0, 0]])
    edges = brute_force_edges(positions, np.eye(3) * 3.0, (True, True, True), 1.0)
    assert edges.images.tolist() == [[-10.0, 0, 0], [10.0, 0, 0]]


def flatness(cell):
    return abs(np.linalg.det(cell)) / np.linalg.norm(cell, axis=1).prod()


def test_crystals_reach_the_corners():
    few = settings(max_examples=500)
    find(crystals(), lambda c: np.linalg.det(c.cell) < 0, settings=few)
    find(crystals(), lambda c: sum(c.pbc) == 2, settings=few)
    find(crystals(), lambda c: not any(c.pbc), settings=few)
    find(crystals(), lambda c: ((c.positions @ np.linalg.inv(c.cell)) < -0.5).any(), settings=few)
    find(crystals(), lambda c: flatness(c.cell) < 0.3, settings=few)


@given(crystals())
def test_a_crystal_makes_a_sample(crystal):
    sample = crystal.sample(sample_id="a")
    assert sample["atomic_numbers"].shape == (len(crystal.positions),)
    assert sample["cell"].shape == (1, 3, 3)
    assert sample["sample_id"] == "a"


def edges(rows):
    src, dst, images, distances = zip(*rows, strict=True)
    images = np.array(images, dtype=float)
    return Edges(np.array(src), np.array(dst), images, np.array(distances))


GOOD = [(0, 1, (0, 0, 0), 1.0), (1, 0, (0, 0, 0), 1.0), (0, 0, (0, 0, 1), 2.0)]


def test_order_does_not_matter():
    assert_same_edges(edges(GOOD[::-1]), edges(GOOD))
    sample = {"src_nodes": [0], "dst_nodes": [1], "images": [[0, 0, 0]], "distances": [1.0]}
    assert_same_edges(sample, edges(GOOD[:1]))


@pytest.mark.parametrize(
    ("actual", "message"),
    [
        (GOOD[:2], r"1 edges are missing and 0 are unexpected.*\(0, 0, \(0, 0, 1\)\), 2.0"),
        ([*GOOD, (1, 1, (0, 0, 1), 2.0)], "0 edges are missing and 1 are unexpected"),
        ([*GOOD[:2], (0, 0, (0, 0, -1), 2.0)], "1 edges are missing and 1 are unexpected"),
        ([*GOOD, GOOD[0]], r"edge \(0, 1, \(0, 0, 0\)\) is duplicated"),
        ([*GOOD[:2], (0, 0, (0, 0, 1), 2.1)], "has length 2.1, expected 2.0"),
        ([*GOOD[:2], (0, 0, (0, 0, 1), np.nan)], "has length nan"),
        ([*GOOD[:2], (0, 0, (0, 0, 1.5), 2.0)], "not integer-valued"),
    ],
)
def test_edge_differences_raise(actual, message):
    with pytest.raises(AssertionError, match=message):
        assert_same_edges(edges(actual), edges(GOOD))


def test_graphs_reach_the_corners():
    few = settings(max_examples=500)
    for corner in (
        lambda graph: graph.num_edges == 0,
        lambda graph: graph.num_nodes == 1,
        lambda graph: graph.num_nodes == graph.num_edges and graph.edges,
        lambda graph: len(set(zip(graph.src.tolist(), graph.dst.tolist(), strict=True))) < graph.num_edges,
        lambda graph: "cell" in graph.nodes,
        lambda graph: "offsets" in graph.whole,
    ):
        find(graphs_alike().map(lambda graphs: graphs[0]), corner, settings=few)
    find(graphs_alike(3), lambda graphs: len(graphs) == 3, settings=few)


def test_graph_differences_raise():
    src = torch.tensor([0, 1])
    graph = GraphData({"pos": torch.zeros(2, 3)}, {"w": torch.ones(2)}, src, 1 - src, {"note": "a"}, 2)
    assert_same_graph(graph, graph)
    for other, message in (
        (graph._replace(num_nodes=3), "numbers of nodes differ: 2 and 3"),
        (graph._replace(dst=src), r"dst differ: \[1, 0\] and \[0, 1\]"),
        (graph._replace(edges={}), r"keys of edges differ: \['w'\] and \[\]"),
        (graph._replace(edges={"w": torch.ones(2, 1)}), "edges differ in 'w'"),
        (graph._replace(nodes={"pos": torch.zeros(2, 3).double()}), "nodes differ in 'pos'"),
        (graph._replace(whole={"note": "b"}), "whole differ in 'note': a and b"),
    ):
        with pytest.raises(AssertionError, match=message):
            assert_same_graph(graph, other)
