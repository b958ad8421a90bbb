"""Continuous-filter convolution: sums over neighbors, with each channel multiplied by a filter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from mml_models.layers.edges import Edges
from mml_models.layers.pairs import Pairs
from mml_models.traced import traced_as

_CACHED = 2**18
"""Maximum number of elements in a chunk: one megabyte in float32, about the cache of one core."""


def convolve_plain(
    values: Tensor, filters: Tensor, edges: Edges, pairs: Pairs, parts: tuple[int, ...] = (1,)
) -> Tensor:
    """Compute `convolve` with plain PyTorch operations.

    This implementation keeps arrays of shape [E, C, F] for the backward pass.
    """
    messages = values.index_select(0, edges.neighbor).split(parts, dim=1)
    weights = pairs.spread(filters).split(1, dim=1)
    products = torch.cat([part * weight for part, weight in zip(messages, weights, strict=True)], dim=1)
    return products.new_zeros(values.shape).index_add(0, edges.center, products)


@traced_as(convolve_plain)
def convolve(
    values: Tensor, filters: Tensor, edges: Edges, pairs: Pairs, parts: tuple[int, ...] = (1,)
) -> Tensor:
    """Return ``y_i = sum_j x_j * W_ij`` over the neighbors j of each atom i.

    Schuett et al. 2017 (arXiv 1706.08566), eq. 2. The convolution is linear in x and in W, so derivatives of
    any order are combinations of the convolution and `_FilterGradient`. If the edges are matched in pairs, W
    is the same in both directions and the convolution is its own adjoint. Every sum then runs over the edges
    in their given order, and no array of shape [E, C, F] is kept for the backward pass. `torch.compile`
    traces `convolve_plain`.

    Parameters
    ----------
    values
        Values x, [N, C, F]: C components of F channels for each atom.
    filters
        Filters W, [P, G, F]: one filter for each pair and each of G groups of components.
    edges
        The E edges.
    pairs
        The pairs of these edges, from `find_pairs`.
    parts
        Number of consecutive components in each of the G groups. The numbers add up to C.

    Returns
    -------
    Tensor
        The sums y, [N, C, F].
    """
    dtype = torch.promote_types(values.dtype, filters.dtype)  # dtypes differ under autocast
    result: Tensor = _Convolution.apply(
        values.to(dtype), filters.to(dtype), edges.center, edges.neighbor, pairs, parts
    )
    return result


class _Convolution(Function):
    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,
        filters: Tensor,
        center: Tensor,
        neighbor: Tensor,
        pairs: Pairs,
        parts: tuple[int, ...],
    ) -> Tensor:
        ctx.save_for_backward(values, filters, center, neighbor)
        ctx.pairs, ctx.parts = pairs, parts
        result = torch.zeros_like(values)
        for rows in _chunks(center, values):
            messages = values.index_select(0, neighbor[rows])
            of_edge = None if pairs.of_edge is None else pairs.of_edge[rows]
            _weigh(messages, filters[rows] if of_edge is None else filters.index_select(0, of_edge), parts)
            result.index_add_(0, center[rows], messages)
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        values, filters, center, neighbor = ctx.saved_tensors
        ways = (neighbor, center) if ctx.pairs.edges is None else (center, neighbor)
        return (
            _Convolution.apply(grad, filters, *ways, ctx.pairs, ctx.parts)
            if ctx.needs_input_grad[0]
            else None,
            _FilterGradient.apply(values, grad, center, neighbor, ctx.pairs, ctx.parts),
            None,
            None,
            None,
            None,
        )


class _FilterGradient(Function):
    """Compute the sums of ``x_j * y_i`` over the edges ij of each pair and the components of each group.

    The result is [P, G, F].
    """

    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,
        grad: Tensor,
        center: Tensor,
        neighbor: Tensor,
        pairs: Pairs,
        parts: tuple[int, ...],
    ) -> Tensor:
        ctx.save_for_backward(values, grad, center, neighbor)
        ctx.pairs, ctx.parts = pairs, parts
        first, second = pairs.first(center), pairs.first(neighbor)
        result = []
        for rows in _chunks(first, values):
            i, j = first[rows], second[rows]
            products = grad.index_select(0, i).mul_(values.index_select(0, j))
            if pairs.edges is not None:
                products.addcmul_(grad.index_select(0, j), values.index_select(0, i))
            result.append(_sum_parts(products, parts))
        return torch.cat(result)

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        values, grad, center, neighbor = ctx.saved_tensors
        ways = (neighbor, center) if ctx.pairs.edges is None else (center, neighbor)
        return (
            _Convolution.apply(grad, outer, *ways, ctx.pairs, ctx.parts),
            _Convolution.apply(values, outer, center, neighbor, ctx.pairs, ctx.parts),
            None,
            None,
            None,
            None,
        )


def _chunks(index: Tensor, values: Tensor) -> Iterator[slice]:
    """Yield slices of `index` that are short enough for their rows of `values` [N, C, F] to fit in the cache.

    The computation takes five times as long if messages are written to main memory and read again. On devices
    other than the CPU, yield a single slice.
    """
    count = int(index.shape[0])
    size = max(1, _CACHED // values[0].numel())
    if values.device.type != "cpu" or count <= size:
        yield slice(None)
        return
    for start in range(0, count, size):
        yield slice(start, start + size)


def _weigh(messages: Tensor, filters: Tensor, parts: tuple[int, ...]) -> None:
    """Multiply messages [E, C, F] by filters [E, G, F], in place."""
    for group, part in enumerate(messages.split(parts, dim=1)):
        part.mul_(filters[:, group : group + 1])


def _sum_parts(values: Tensor, parts: tuple[int, ...]) -> Tensor:
    """Sum the components of each group: [P, C, F] -> [P, G, F]."""
    if parts == (1,):
        return values
    return torch.stack([part.sum(dim=1) for part in values.split(parts, dim=1)], dim=1)
