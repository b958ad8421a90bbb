"""Fixture of the tests of the edge network, and the path of the modules that several tests share."""

import sys
from pathlib import Path

import pytest
import torch
from mml_models.batch import read_graph
from mml_models.layers import edge_rows as edge_rows_module
from mml_models.layers.edge_rows import edge_rows
from mml_models.layers.edges import Edges, edges_within
from mml_models.layers.pairs import Pairs, find_pairs
from mml_models.testing import crystal_batch, random_crystal

sys.path.append(str(Path(__file__).parent))


@pytest.fixture(params=["paired", "one by one"])
def rows(request, monkeypatch):
    """Rows for an edge network of width 3, in slices of a few edges. The last slice is shorter."""
    monkeypatch.setattr(edge_rows_module, "_NUMBERS_IN_A_SLICE", 18)
    graph = read_graph(crystal_batch([random_crystal(0, 2), random_crystal(1, 1)], 4.4))
    edges = edges_within(graph, 4.4, torch.float64)
    pairs = find_pairs(edges)
    if request.param == "one by one":
        kept = torch.arange(len(edges.center)) % 3 > 0
        edges = Edges(*(getattr(edges, x)[kept] for x in ("center", "neighbor", "vectors", "distances")))
        pairs = Pairs(None, None)
    found = edge_rows(edges, pairs, 3)
    assert found.ways == (2 if request.param == "paired" else 1)
    assert len(list(found.slices())) >= 2
    assert len(found.edge) % (found.ways * found.length)
    return found
