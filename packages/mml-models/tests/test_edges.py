from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mml_models.batch import AtomGraph, read_graph
from mml_models.layers.edges import (
    BesselBasis,
    GaussianBasis,
    cosine_envelope,
    distances_of,
    edges_within,
    polynomial_envelope,
)
from mml_models.testing import crystal_batch, random_crystal


def line(*x, dtype=torch.float64):
    """Return atom 0 at the origin, with edges to atoms at the positions x on an axis."""
    pos = torch.zeros(1 + len(x), 3, dtype=dtype)
    pos[1:, 0] = torch.tensor(x)
    index = torch.stack((torch.zeros(len(x), dtype=torch.int64), torch.arange(1, 1 + len(x))))
    structure = torch.zeros(1 + len(x), dtype=torch.int64)
    return AtomGraph(structure + 1, pos, index, None, structure, 1)


@given(st.integers(0, 10**6), st.integers(1, 4))
def test_vectors_include_offsets_up_to_cutoff(seed, num_atoms):
    graph = read_graph(crystal_batch([random_crystal(seed, num_atoms)], 5.0))
    edges = edges_within(graph, 3.5, torch.float64)
    vectors = graph.pos[graph.edge_index[1]] + graph.offsets - graph.pos[graph.edge_index[0]]
    near = vectors.norm(dim=1) < 3.5
    torch.testing.assert_close(edges.vectors, vectors[near])
    torch.testing.assert_close(edges.distances, vectors[near].norm(dim=1))
    assert torch.equal(torch.stack((edges.center, edges.neighbor)), graph.edge_index[:, near])


def test_edge_at_cutoff_is_dropped():
    assert edges_within(line(1.0, 2.0, 3.0), 2.0, torch.float64).neighbor.tolist() == [1]


def test_edge_with_nan_is_kept():
    edges = edges_within(line(1.0, math.nan, 3.0), 2.0, torch.float64)
    assert edges.neighbor.tolist() == [1, 2]
    assert edges.distances.isnan().tolist() == [False, True]


def test_vectors_use_dtype_of_positions():
    graph = line(1e6 + 1.0, 1e6 + 1.5)
    graph.edge_index[0], graph.edge_index[1] = torch.tensor([1, 1]), torch.tensor([2, 2])
    edges = edges_within(graph, 2.0, torch.float32)
    assert edges.distances.dtype == torch.float32
    assert edges.distances.tolist() == [0.5, 0.5]


def test_zero_distance_has_finite_derivatives():
    vectors = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    distances = distances_of(vectors)
    assert distances.tolist() == [0.0]
    (first,) = torch.autograd.grad(distances.sum(), vectors, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), vectors)
    assert first.tolist() == second.tolist() == [[0.0, 0.0, 0.0]]


def test_polynomial_envelope_is_smooth_at_cutoff():
    x = torch.tensor([0.0, 4.0 - 1e-9, 4.0, 5.0], dtype=torch.float64, requires_grad=True)
    value = polynomial_envelope(x, 4.0)
    (first,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    for derivative, start in ((value, 1.0), (first, 0.0), (second, 0.0)):
        assert derivative.tolist() == pytest.approx([start, 0.0, 0.0, 0.0], abs=1e-6)
    assert value[2:].tolist() == [0.0, 0.0]
    inside = polynomial_envelope(torch.linspace(0, 4, 50, dtype=torch.float64), 4.0)
    assert bool((inside.diff() < 0).all())


def test_polynomial_envelope_equals_paper():
    x = torch.linspace(0, 1, 11, dtype=torch.float64)
    p = 6
    paper = 1 - (p + 1) * (p + 2) / 2 * x**p + p * (p + 2) * x ** (p + 1) - p * (p + 1) / 2 * x ** (p + 2)
    torch.testing.assert_close(polynomial_envelope(3.0 * x, 3.0), paper)


def test_gaussians_are_one_at_centers():
    values = GaussianBasis(5, 4.0)(torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0]))
    torch.testing.assert_close(values.diagonal(), torch.ones(5))
    torch.testing.assert_close(values[0, 1], torch.tensor(math.exp(-0.5)))


@pytest.mark.parametrize("number", [5, 20, 50, 300])
def test_gaussians_are_never_subnormal(number):
    """Matrix products of subnormal numbers take ten times as long."""
    distances = torch.linspace(0.0, 5.0, 4001, requires_grad=True)
    values = GaussianBasis(number, 5.0)(distances)
    (slopes,) = torch.autograd.grad(values.sum(), distances)
    for numbers in (values, slopes):
        assert ((numbers == 0) | (numbers.abs() >= torch.finfo(torch.float32).tiny)).all()


def test_gaussians_equal_formula():
    distances = torch.linspace(0.0, 5.0, 4001, dtype=torch.float64)
    basis = GaussianBasis(20, 5.0).double()
    width = 5.0 / 19
    expected = torch.exp(-((distances.unsqueeze(-1) - basis.centers) ** 2) / (2 * width**2))
    torch.testing.assert_close(basis(distances), expected, rtol=1e-13, atol=1e-17)


def test_one_gaussian_raises():
    with pytest.raises(ValueError, match="num_gaussians must be at least 2, got 1"):
        GaussianBasis(1, 4.0)


def test_cosine_envelope_is_flat_at_both_ends():
    d = torch.tensor([0.0, 1.5, 3.0, 4.0], dtype=torch.float64, requires_grad=True)
    values = cosine_envelope(d, 3.0)
    (slopes,) = torch.autograd.grad(values.sum(), d)
    torch.testing.assert_close(values, torch.tensor([1.0, 0.5, 0.0, 0.0], dtype=torch.float64))
    assert slopes.tolist() == pytest.approx([0.0, -math.pi / 6, 0.0, 0.0], abs=1e-12)


def test_bessel_functions_are_orthonormal_and_end_at_cutoff():
    """Integrate over the ball within the cutoff, with weight d^2."""
    basis = BesselBasis(6, 4.0).double()
    d = torch.linspace(0.0, 4.0, 4001, dtype=torch.float64)
    values = basis(d)
    weighted = values * d.unsqueeze(1)
    overlap = torch.trapezoid(weighted.unsqueeze(1) * weighted.unsqueeze(2), d, dim=0)
    torch.testing.assert_close(overlap, torch.eye(6, dtype=torch.float64), atol=1e-6, rtol=0)
    assert float(values[-1].abs().max()) < 1e-12
    first = math.sqrt(2 / 4.0) * (math.pi * d[1:] / 4.0).sin() / d[1:]
    torch.testing.assert_close(values[1:, 0], first)
    assert bool(values[0].isfinite().all())
