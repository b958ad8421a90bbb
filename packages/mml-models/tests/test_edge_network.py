from __future__ import annotations

import pytest
import torch
from mml_models.layers.activations import SiLU
from mml_models.layers.edge_network import Weights, run_edge_network
from mml_models.layers.edge_rows import edge_rows
from mml_models.layers.edges import Edges
from mml_models.layers.pairs import find_pairs
from torch import nn

WIDTH = 3


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


@pytest.mark.parametrize("pull", [True, False])
def test_values_equal_formula_edge_by_edge(rows, pull):
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
def test_derivatives_pass_gradcheck(rows, pull):
    tensors = inputs(rows, pull=pull)
    assert torch.autograd.gradcheck(lambda *x: run(rows, x), tensors)
    assert torch.autograd.gradgradcheck(lambda *x: run(rows, x), tensors)


@pytest.mark.parametrize("pull", [True, False])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_loss_gradients_equal_plain_operations(rows, pull, order):
    """Differentiate by all inputs a loss on derivatives by those inputs that depend on positions."""
    found = []
    for activation in (SiLU(), nn.SiLU()):  # with torch's SiLU, run_edge_network calls run_plain
        tensors = inputs(rows, pull=pull)
        slopes = run(rows, tensors, activation)
        for _ in range(order):
            total = sum((x.sin() * (1 + x)).sum() for x in slopes)
            slopes = torch.autograd.grad(total, tensors[:4], create_graph=True)
        total = sum(x.square().sum() for x in slopes)
        found.append(torch.autograd.grad(total, tensors, allow_unused=True, materialize_grads=True))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_no_edges_give_no_messages():
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
