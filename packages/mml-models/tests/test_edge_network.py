from __future__ import annotations

import pytest
import torch
from mml_models.batch import read_graph
from mml_models.layers import edge_rows as edge_rows_module
from mml_models.layers.activations import SiLU
from mml_models.layers.edge_network import Weights, run_edge_network
from mml_models.layers.edge_rows import edge_rows
from mml_models.layers.edges import Edges, edges_within
from mml_models.layers.pairs import Pairs, find_pairs
from mml_models.testing import crystal_batch, random_crystal
from torch import nn

WIDTH = 3


@pytest.fixture(params=["paired", "one by one"])
def rows(request, monkeypatch):
    """Edges in slices of a few, the last of them shorter."""
    monkeypatch.setattr(edge_rows_module, "_NUMBERS_IN_A_SLICE", 6 * WIDTH)
    graph = read_graph(crystal_batch([random_crystal(0, 2), random_crystal(1, 1)], 4.4))
    edges = edges_within(graph, 4.4, torch.float64)
    pairs = find_pairs(edges)
    if request.param == "one by one":
        kept = torch.arange(len(edges.center)) % 3 > 0
        edges = Edges(*(getattr(edges, x)[kept] for x in ("center", "neighbor", "vectors", "distances")))
        pairs = Pairs(None, None)
    found = edge_rows(edges, pairs, WIDTH)
    assert found.ways == (2 if request.param == "paired" else 1)
    assert len(list(found.slices())) >= 2
    assert len(found.edge) % (found.ways * found.length)
    return found


def inputs(rows, *, pull=True):
    generator = torch.Generator().manual_seed(0)
    num_pairs = len(rows.first)
    shapes = [(3, WIDTH), (3, WIDTH), (num_pairs, WIDTH), (num_pairs, 1), (WIDTH, WIDTH), (WIDTH,)]
    shapes += [(WIDTH, WIDTH), (WIDTH,), (WIDTH,)] if pull else []
    return [
        torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True) for shape in shapes
    ]


def run(rows, tensors, activation=None):
    found = run_edge_network(*tensors[:4], Weights(*tensors[4:]), activation or SiLU(), rows)
    return tuple(x for x in found if x is not None)


def test_rows_are_the_edges_and_those_of_a_pair_share_a_slice(rows):
    assert sorted(rows.edge.tolist()) == list(range(len(rows.edge)))
    assert rows.pair[rows.first].tolist() == list(range(len(rows.first)))
    seen = 0
    for some, those in rows.slices():
        assert rows.pair[some].tolist() == list(range(those.start, those.stop)) * rows.ways
        seen += len(rows.pair[some])
    assert seen == len(rows.edge)


@pytest.mark.parametrize("pull", [True, False])
def test_it_is_the_formula_edge_by_edge(rows, pull):
    a, b, c, u, w2, w2_bias, *rest = tensors = [x.detach() for x in inputs(rows, pull=pull)]
    received, *pulls = run(rows, tensors)
    expected = torch.zeros_like(received)
    silu = nn.functional.silu
    for row, (i, j, p) in enumerate(zip(rows.center, rows.neighbor, rows.pair, strict=True)):
        message = silu(w2 @ silu(a[i] + b[j] + c[p]) + w2_bias) * u[p]
        expected[i] += message
        if pull:
            w3, w3_bias, w4 = rest
            torch.testing.assert_close(pulls[0][row], w4 @ silu(w3 @ message + w3_bias))
    torch.testing.assert_close(received, expected)


@pytest.mark.parametrize("pull", [True, False])
def test_first_and_second_derivatives_are_right(rows, pull):
    tensors = inputs(rows, pull=pull)
    assert torch.autograd.gradcheck(lambda *x: run(rows, x), tensors)
    assert torch.autograd.gradgradcheck(lambda *x: run(rows, x), tensors)


@pytest.mark.parametrize("pull", [True, False])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_derivatives_of_a_loss_on_slopes_are_those_of_plain_operations(rows, pull, order):
    """By all inputs, through slopes by the inputs that depend on positions; up to the third order."""
    found = []
    for activation in (SiLU(), nn.SiLU()):  # torch's has the plain operations
        tensors = inputs(rows, pull=pull)
        slopes = run(rows, tensors, activation)
        for _ in range(order):
            total = sum((x.sin() * (1 + x)).sum() for x in slopes)
            slopes = torch.autograd.grad(total, tensors[:4], create_graph=True)
        total = sum(x.square().sum() for x in slopes)
        found.append(torch.autograd.grad(total, tensors, allow_unused=True, materialize_grads=True))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_no_edges_are_no_messages():
    nothing = torch.zeros(0, dtype=torch.int64)
    edges = Edges(nothing, nothing, torch.zeros(0, 3).double(), torch.zeros(0).double())
    rows = edge_rows(edges, find_pairs(edges), WIDTH)
    tensors = inputs(rows)
    received, pulls = run(rows, tensors)
    assert not received.any()
    assert pulls.shape == (0,)
    slopes = torch.autograd.grad(received.sum() + pulls.sum(), tensors[:4], create_graph=True)
    sum(x.square().sum() for x in slopes).backward()
    assert all(x.grad is None or not x.grad.any() for x in tensors)
