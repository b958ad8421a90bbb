"""Represent 3 x 3 tensors by nine components: a scalar, an antisymmetric and a traceless symmetric part.

With orthonormal basis matrices B_m, a tensor is ``X = sum_m x_m B_m`` and its squared Frobenius norm is
``sum_m x_m^2``. Under a rotation, the first component is unchanged, the next three transform as a vector, and
the last five mix among themselves. Arrays have the shape [N, 9, F], for N atoms and F channels.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from mml_models.traced import traced_as

PARTS = (1, 3, 5)
"""Number of components of the scalar, the antisymmetric and the traceless symmetric part."""

_H, _S = math.sqrt(1 / 2), math.sqrt(1 / 6)
_MATRICES = (
    ((math.sqrt(1 / 3), 0.0, 0.0), (0.0, math.sqrt(1 / 3), 0.0), (0.0, 0.0, math.sqrt(1 / 3))),
    ((0.0, 0.0, 0.0), (0.0, 0.0, -_H), (0.0, _H, 0.0)),
    ((0.0, 0.0, _H), (0.0, 0.0, 0.0), (-_H, 0.0, 0.0)),
    ((0.0, -_H, 0.0), (_H, 0.0, 0.0), (0.0, 0.0, 0.0)),
    ((0.0, _H, 0.0), (_H, 0.0, 0.0), (0.0, 0.0, 0.0)),
    ((0.0, 0.0, 0.0), (0.0, 0.0, _H), (0.0, _H, 0.0)),
    ((0.0, 0.0, _H), (0.0, 0.0, 0.0), (_H, 0.0, 0.0)),
    ((_H, 0.0, 0.0), (0.0, -_H, 0.0), (0.0, 0.0, 0.0)),
    ((-_S, 0.0, 0.0), (0.0, -_S, 0.0), (0.0, 0.0, 2 * _S)),
)


def basis_matrices(like: Tensor) -> Tensor:
    """Return the basis matrices B, [9, 3, 3], with the dtype and device of `like`."""
    return torch.tensor(_MATRICES, dtype=like.dtype, device=like.device)


def direction_tensors(directions: Tensor) -> Tensor:
    """Return the components of ``1 + [e]x + (e e^T - 1 / 3)`` for unit vectors e: [E, 3] -> [E, 9].

    ``[e]x`` is the matrix of the cross product with e. Simeon and De Fabritiis 2023 (arXiv 2306.06482).
    """
    x, y, z = directions.unbind(-1)
    r = math.sqrt(2.0)
    return torch.stack(
        (
            torch.full_like(x, math.sqrt(3.0)),
            r * x,
            r * y,
            r * z,
            r * x * y,
            r * y * z,
            r * x * z,
            _H * (x * x - y * y),
            _S * (2 * z * z - x * x - y * y),
        ),
        dim=-1,
    )


def squared_norms(x: Tensor) -> Tensor:
    """Return the squared Frobenius norms ``tr(X^T X)``: [N, 9, F] -> [N, F]."""
    return x.square().sum(dim=1)


def product(x: Tensor, y: Tensor) -> Tensor:
    """Return the components of the matrix products ``X Y``; `x`, `y` and the result are [N, 9, F].

    The derivatives of a product are products with transposed factors, so derivatives of any order are fast.
    """
    return _product(x, y, both=False)


def anticommutator(x: Tensor, y: Tensor) -> Tensor:
    """Return the components of ``X Y + Y X``; `x`, `y` and the result are [N, 9, F].

    Under inversion, the antisymmetric parts of X and Y change sign, as vectors do. The antisymmetric part of
    ``X Y + Y X`` then changes sign as well, and its other parts are unchanged. ``X Y`` lacks this property.
    """
    return _product(x, y, both=True)


def product_plain(x: Tensor, y: Tensor, *, both: bool) -> Tensor:
    """Compute ``X Y``, or ``X Y + Y X`` if `both`, as products of 3 x 3 matrices."""
    dtype = torch.promote_types(x.dtype, y.dtype)  # dtypes differ under autocast
    with torch.autocast(x.device.type, enabled=False):
        basis = basis_matrices(x.to(dtype)).reshape(9, 9)
        # [N, 9, F] -> [N, F, 3, 3]
        first, second = (torch.matmul(t.to(dtype).mT, basis).unflatten(2, (3, 3)) for t in (x, y))
        matrices = torch.matmul(first, second)
        if both:
            matrices = matrices + torch.matmul(second, first)
        return torch.matmul(basis, matrices.flatten(2).mT)


@traced_as(product_plain)
def _product(x: Tensor, y: Tensor, *, both: bool) -> Tensor:
    dtype = torch.promote_types(x.dtype, y.dtype)  # dtypes differ under autocast
    result: Tensor = _Product.apply(x.to(dtype), y.to(dtype), both)
    return result


class _Product(Function):
    """Compute ``X Y``, or ``X Y + Y X`` if `both`. Up to transposition, the operation is its own adjoint."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, both: bool) -> Tensor:
        ctx.save_for_backward(x, y)
        ctx.both = both
        with torch.autocast(x.device.type, enabled=False):  # the basis is constant
            basis = basis_matrices(x).reshape(9, 9)
            first, second = (torch.matmul(basis.T, t).unflatten(1, (3, 3)) for t in (x, y))
            result = torch.zeros_like(first)
            for a, b in ((first, second), (second, first))[: 1 + both]:
                for k in range(3):
                    result.addcmul_(a[:, :, k].unsqueeze(2), b[:, k].unsqueeze(1))
            return torch.matmul(basis, result.flatten(1, 2))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        x, y = ctx.saved_tensors
        return (
            _Product.apply(grad, _transposed(y), ctx.both),
            _Product.apply(_transposed(x), grad, ctx.both),
            None,
        )


def _transposed(x: Tensor) -> Tensor:
    signs = x.new_ones(9)
    signs[1:4] = -1
    return x * signs.unsqueeze(-1)
