from __future__ import annotations

import pytest
import torch
from mml_models.batch import read_graph
from mml_models.layers import convolution
from mml_models.layers.convolution import convolve
from mml_models.layers.edges import Edges, edges_within
from mml_models.layers.pairs import Pairs, find_pairs
from mml_models.testing import crystal_batch, random_crystal

PARTS = (1, 2)


def setting(paired, seed=0):
    graph = read_graph(crystal_batch([random_crystal(seed, 2), random_crystal(seed + 1, 1)], 3.3))
    edges = edges_within(graph, 3.3, torch.float64)
    if not paired:
        kept = torch.arange(len(edges.center)) % 3 > 0
        edges = Edges(edges.center[kept], edges.neighbor[kept], edges.vectors[kept], edges.distances[kept])
    pairs = find_pairs(edges) if paired else Pairs(None, None)
    assert (pairs.edges is not None) == paired
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(3, 3, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    rows = len(pairs.first(edges.distances))
    filters = torch.randn(rows, 2, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    return values, filters, edges, pairs


@pytest.fixture(params=[2**18, 12], ids=["in one piece", "in pieces"])
def pieces(request, monkeypatch):
    """Process all edges at once, or in chunks of two edges (12 numbers)."""
    monkeypatch.setattr(convolution, "_CACHED", request.param)


@pytest.mark.usefixtures("pieces")
@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_convolution_equals_loop_over_edges(paired, seed):
    values, filters, edges, pairs = setting(paired, seed)
    expected = torch.zeros(3, 3, 2, dtype=torch.float64)
    for edge, (i, j) in enumerate(zip(edges.center.tolist(), edges.neighbor.tolist(), strict=True)):
        row = edge if pairs.of_edge is None else int(pairs.of_edge[edge])
        first, second = filters[row].detach()
        expected[i] += values[j].detach() * torch.stack((first, second, second))
    torch.testing.assert_close(convolve(values, filters, edges, pairs, PARTS).detach(), expected)
    one = convolve(values[:, :1], filters[:, :1], edges, pairs)
    torch.testing.assert_close(one.detach(), expected[:, :1])


@pytest.mark.usefixtures("pieces")
@pytest.mark.parametrize("paired", [True, False])
def test_derivatives_pass_gradcheck(paired):
    values, filters, edges, pairs = setting(paired)

    def function(x, w):
        return convolve(x, w, edges, pairs, PARTS)

    def slopes(x, w):
        total = function(x, w).sin().sum()
        return torch.autograd.grad(total, (x, w), create_graph=True)

    assert torch.autograd.gradcheck(function, (values, filters))
    assert torch.autograd.gradgradcheck(function, (values, filters))
    assert torch.autograd.gradgradcheck(slopes, (values, filters))


def test_mixed_dtypes_are_promoted():
    values, filters, edges, pairs = setting(paired=True)
    mixed = convolve(values.bfloat16(), filters.float(), edges, pairs, PARTS)
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(
        mixed, convolve(values, filters, edges, pairs, PARTS).float(), rtol=0.05, atol=0.05
    )
