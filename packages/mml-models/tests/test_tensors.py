"""Compare the nine components with 3 x 3 matrices."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mml_models.layers.tensors import (
    PARTS,
    anticommutator,
    basis_matrices,
    direction_tensors,
    product,
    squared_norms,
)

DOUBLE = torch.empty(0, dtype=torch.float64)
seeds = st.integers(0, 10**6)


def random(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def matrices(x):
    """[N, 9, F] -> [N, F, 3, 3]."""
    return torch.einsum("mab,nmf->nfab", basis_matrices(x), x)


def components(matrices):
    return torch.einsum("mab,nfab->nmf", basis_matrices(matrices), matrices)


def test_basis_is_orthonormal():
    basis = basis_matrices(DOUBLE)
    torch.testing.assert_close(torch.einsum("mab,nab->mn", basis, basis), torch.eye(9, dtype=torch.float64))
    scalar, antisymmetric, symmetric = basis.split(PARTS)
    torch.testing.assert_close(scalar[0], scalar[0, 0, 0] * torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(antisymmetric.mT, -antisymmetric)
    torch.testing.assert_close(symmetric.mT, symmetric)
    torch.testing.assert_close(symmetric.diagonal(dim1=1, dim2=2).sum(1), torch.zeros(5).double())


@given(seeds)
def test_products_and_norms_equal_matrices(seed):
    x, y = random(seed, 4, 9, 3), random(seed + 1, 4, 9, 3)
    a, b = matrices(x), matrices(y)
    torch.testing.assert_close(product(x, y), components(a @ b))
    torch.testing.assert_close(anticommutator(x, y), components(a @ b + b @ a))
    torch.testing.assert_close(squared_norms(x), torch.linalg.matrix_norm(a).square())


@pytest.mark.parametrize("function", [product, anticommutator])
def test_derivatives_pass_gradcheck(function):
    x, y = (random(seed, 2, 9, 1).requires_grad_() for seed in (0, 1))

    def slopes(x, y):
        return torch.autograd.grad(function(x, y).sin().sum(), (x, y), create_graph=True)

    assert torch.autograd.gradcheck(function, (x, y))
    assert torch.autograd.gradgradcheck(function, (x, y))
    assert torch.autograd.gradgradcheck(slopes, (x, y))


def test_mixed_dtypes_are_promoted_under_autocast():
    x, y = random(0, 4, 9, 3).float(), random(1, 4, 9, 3).float()
    with torch.autocast("cpu", torch.bfloat16):
        mixed, single = product(x, y.bfloat16()), product(x, y)
    assert mixed.dtype == single.dtype == torch.float32
    torch.testing.assert_close(single, product(x, y))
    torch.testing.assert_close(mixed, product(x, y.bfloat16().float()))


@given(seeds)
def test_direction_tensor_equals_definition(seed):
    e = torch.nn.functional.normalize(random(seed, 5, 3), dim=1)
    v = random(seed + 1, 5, 3)
    unit, cross, quadrupole = (
        torch.einsum("em,mab->eab", part, basis)
        for part, basis in zip(
            direction_tensors(e).split(PARTS, dim=1), basis_matrices(e).split(PARTS), strict=True
        )
    )
    eye = torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(unit, eye.expand(5, 3, 3))
    torch.testing.assert_close((cross @ v.unsqueeze(-1)).squeeze(-1), torch.linalg.cross(e, v))
    torch.testing.assert_close(quadrupole, e.unsqueeze(2) * e.unsqueeze(1) - eye / 3)


@given(seeds)
def test_only_anticommutator_keeps_parity(seed):
    x, y = random(seed, 2, 9, 3), random(seed + 1, 2, 9, 3)
    inversion = torch.tensor([1.0] + 3 * [-1.0] + 5 * [1.0], dtype=torch.float64).unsqueeze(-1)
    kept = anticommutator(x * inversion, y * inversion)
    torch.testing.assert_close(kept, anticommutator(x, y) * inversion)
    assert not torch.allclose(product(x * inversion, y * inversion), product(x, y) * inversion)
