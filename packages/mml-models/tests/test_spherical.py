from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mml_models.adapters.spherical import (
    SphericalBessel,
    bessel_zeros,
    spherical_bessel,
    zonal_harmonics,
)


def test_bessel_functions_obey_recurrence():
    z = np.linspace(0.5, 40.0, 200)
    np.testing.assert_allclose(spherical_bessel(0, z), np.sin(z) / z, atol=1e-14)
    np.testing.assert_allclose(spherical_bessel(1, z), np.sin(z) / z**2 - np.cos(z) / z, atol=1e-13)
    for order in range(1, 7):  # DLMF 10.51.1
        below, here, above = (spherical_bessel(order + step, z) for step in (-1, 0, 1))
        np.testing.assert_allclose(below + above, (2 * order + 1) / z * here, atol=1e-12)


def test_bessel_zeros_are_complete():
    zeros = bessel_zeros(7, 6)
    # Abramowitz and Stegun, table 10.6: the first zeros of order 1, 2 and 3.
    np.testing.assert_allclose(zeros[1:4, 0], [4.493409, 5.763459, 6.987932], atol=1e-6)
    for order, row in enumerate(zeros):
        np.testing.assert_allclose(spherical_bessel(order, row), 0.0, atol=1e-13)
        grid = np.linspace(0.5, row[-1] + 0.1, 5000)
        assert (np.diff(np.sign(spherical_bessel(order, grid))) != 0).sum() == len(row)


@given(st.integers(2, 7), st.integers(1, 6), st.floats(0.0, 1.0))
def test_basis_equals_scaled_functions(num_spherical, num_radial, x):
    found = SphericalBessel(num_spherical, num_radial)(torch.tensor([x], dtype=torch.float64))
    zeros = bessel_zeros(num_spherical, num_radial)
    expected = [
        spherical_bessel(order, np.array([z * x]))[0]
        / math.sqrt(0.5 * spherical_bessel(order + 1, np.array([z]))[0] ** 2)
        for order, row in enumerate(zeros)
        for z in row
    ]
    np.testing.assert_allclose(found[0].numpy(), expected, atol=1e-10)


@settings(max_examples=10)
@given(st.integers(2, 6), st.integers(1, 5))
def test_functions_of_one_order_are_orthonormal(num_spherical, num_radial):
    """Integrate x^2 f_m(x) f_n(x) from 0 to 1."""
    nodes, weights = np.polynomial.legendre.leggauss(100)
    x = torch.from_numpy((nodes + 1) / 2)
    functions = SphericalBessel(num_spherical, num_radial)(x).view(len(x), num_spherical, num_radial)
    overlaps = torch.einsum("x,xlm,xln->lmn", torch.from_numpy(weights / 2) * x**2, functions, functions)
    torch.testing.assert_close(
        overlaps, torch.eye(num_radial).double().expand_as(overlaps), atol=1e-9, rtol=0
    )


def test_harmonics_are_orthonormal_and_smooth():
    nodes, weights = np.polynomial.legendre.leggauss(40)
    values = zonal_harmonics(torch.from_numpy(nodes), 7)
    overlaps = 2 * math.pi * torch.einsum("x,xl,xk->lk", torch.from_numpy(weights), values, values)
    torch.testing.assert_close(overlaps, torch.eye(7).double())
    ends = torch.tensor([-1.0, 1.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda cosine: zonal_harmonics(cosine, 5), ends)


@pytest.mark.filterwarnings("ignore:.*invalid value.*")
def test_basis_equals_pyg():
    pytest.importorskip("scipy", reason="PyG's basis needs SciPy")
    from torch_geometric.nn.models.dimenet import SphericalBasisLayer

    cutoff, num_spherical, num_radial = 4.0, 4, 3
    theirs = SphericalBasisLayer(num_spherical, num_radial, cutoff)
    generator = torch.Generator().manual_seed(0)
    distances = 0.5 + 3.4 * torch.rand(20, generator=generator, dtype=torch.float64)
    angles = 3.0 * torch.rand(20, generator=generator, dtype=torch.float64)
    expected = theirs(distances, angles, torch.arange(20))
    radial = SphericalBessel(num_spherical, num_radial)(distances / cutoff)
    radial = theirs.envelope(distances / cutoff).unsqueeze(1) * radial
    harmonics = zonal_harmonics(angles.cos(), num_spherical)
    found = radial.view(20, num_spherical, num_radial) * harmonics.unsqueeze(2)
    # PyG stores the zeros in single precision.
    torch.testing.assert_close(found.flatten(1), expected, rtol=1e-4, atol=1e-5)
