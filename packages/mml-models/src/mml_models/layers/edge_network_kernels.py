"""Kernels of EGNN's edge network: forward pass, backward pass and second backward pass, slice by slice.

The argument `tensors` contains a, b, c, u, W, w, V, v', v of `run_edge_network`. The last three may be None.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mml_models.layers.edge_rows import EdgeRows, by_pair, sum_of_pairs, times_


class State(NamedTuple):
    """Arrays that the forward pass saves: the activations y and sigmoids s of the three layers, [E, F]."""

    y1: Tensor
    y2: Tensor
    y3: Tensor | None
    s1: Tensor
    s2: Tensor
    s3: Tensor | None


def forth(tensors: Any, rows: EdgeRows) -> tuple[Tensor, Any, State]:
    """Return the sums of the messages, the pulls, and the arrays that the backward passes need."""
    a, b, c, u, w2, w2_bias, w3, w3_bias, w4 = tensors
    count, width = rows.edge.shape[0], a.shape[1]
    layers = 2 if w3 is None else 3
    y, s = ([a.new_empty(count, width) for _ in range(layers)] for _ in range(2))
    received = torch.zeros_like(a)
    pulls: Any = None if w3 is None else a.new_empty(count)
    with torch.autocast(a.device.type, enabled=False):
        for some, those, (z, messages) in slices(rows, a, 2):
            center = rows.center[some]
            torch.index_select(a, 0, center, out=z)
            z.add_(torch.index_select(b, 0, rows.neighbor[some], out=messages))
            by_pair(z, rows).add_(c[those])
            torch.mul(z, torch.sigmoid(z, out=s[0][some]), out=y[0][some])
            torch.addmm(w2_bias, y[0][some], w2.t(), out=z)
            torch.mul(z, torch.sigmoid(z, out=s[1][some]), out=y[1][some])
            times_(messages.copy_(y[1][some]), u[those], rows)
            received.index_add_(0, center, messages)
            if w3 is not None:
                torch.addmm(w3_bias, messages, w3.t(), out=z)
                torch.mul(z, torch.sigmoid(z, out=s[2][some]), out=y[2][some])
                torch.mv(y[2][some], w4, out=pulls[some])
    if layers == 2:
        return received, None, State(y[0], y[1], None, s[0], s[1], None)
    return received, pulls, State(*y, *s)


def back(
    to_received: Tensor,
    to_pulls: Any,
    tensors: Any,
    state: Any,
    more: tuple[Tensor | None, ...],
    rows: EdgeRows,
) -> tuple[tuple[Tensor | None, ...], Tensor, Tensor]:
    """Return the gradients with respect to the inputs, the messages [E, F] and y1 [E, F].

    `more` contains gradients that are added at the inputs of the three activations, or None.
    """
    a, b, c, u, w2, w2_bias, w3, w3_bias, w4 = tensors
    g_a, g_b, g_c, g_u, g_w2, g_w2_bias = (torch.zeros_like(x) for x in (a, b, c, u, w2, w2_bias))
    last: list[Any] = [None if x is None else torch.zeros_like(x) for x in (w3, w3_bias, w4)]
    g_w3, g_w3_bias, g_w4 = last
    g_messages, g_y1 = torch.empty_like(state.y1), torch.empty_like(state.y1)
    with torch.autocast(a.device.type, enabled=False):
        for some, those, (g_z, work) in slices(rows, a, 2):
            center = rows.center[some]
            y1, y2, s1, s2 = (x[some] for x in (state.y1, state.y2, state.s1, state.s2))
            g_m = torch.index_select(to_received, 0, center, out=g_messages[some])
            if w3 is not None:
                y3, s3, pull = state.y3[some], state.s3[some], to_pulls[some]
                _slope(y3, s3, g_z).mul_(w4).mul_(pull.unsqueeze(1))
                if more[2] is not None:
                    g_z.add_(more[2][some])
                g_m.addmm_(g_z, w3)
                g_w3.addmm_(g_z.t(), times_(work.copy_(y2), u[those], rows))
                g_w3_bias.add_(g_z.sum(dim=0))
                g_w4.addmv_(y3.t(), pull)
            g_u[those] = sum_of_pairs(torch.mul(g_m, y2, out=work).sum(dim=1, keepdim=True), rows)
            times_(_slope(y2, s2, g_z).mul_(g_m), u[those], rows)
            if more[1] is not None:
                g_z.add_(more[1][some])
            g_w2.addmm_(g_z.t(), y1)
            g_w2_bias.add_(g_z.sum(dim=0))
            torch.mm(g_z, w2, out=g_y1[some])
            _slope(y1, s1, g_z).mul_(g_y1[some])
            if more[0] is not None:
                g_z.add_(more[0][some])
            g_a.index_add_(0, center, g_z)
            g_b.index_add_(0, rows.neighbor[some], g_z)
            torch.sum(by_pair(g_z, rows), 0, out=g_c[those])
    return (g_a, g_b, g_c, g_u, g_w2, g_w2_bias, g_w3, g_w3_bias, g_w4), g_messages, g_y1


def second(
    outer: tuple[Tensor | None, ...], to_pulls: Any, tensors: Any, state: Any, kept: Any, rows: EdgeRows
) -> tuple[Tensor | None, ...]:
    """Differentiate ``sum(h_a g_a + h_b g_b + h_c g_c + h_u g_u)``.

    `outer` contains the factors h. The gradients g are those that `back` returns without `more`. Return the
    derivatives with respect to `to_received` and `to_pulls` of `back`, to u, W, V and v, and to the inputs of
    the three activations.
    """
    a, b, c, u, w2, _, w3, _, w4 = tensors
    h_a, h_b, h_c, h_u = (
        torch.zeros_like(x) if h is None else h for h, x in zip(outer, (a, b, c, u), strict=True)
    )
    h_received, k_u, k_w2 = torch.zeros_like(a), torch.zeros_like(u), torch.zeros_like(w2)
    last: list[Any] = [None if x is None else torch.zeros_like(x) for x in (to_pulls, w3, w4)]
    h_pulls, k_w3, k_w4 = last
    k1, k2 = torch.empty_like(state.y1), torch.empty_like(state.y1)
    k3: Any = None if w3 is None else torch.empty_like(state.y1)
    with torch.autocast(a.device.type, enabled=False):
        for some, those, (h, slope, work, spare) in slices(rows, a, 4):
            center = rows.center[some]
            y1, y2, s1, s2, g_m, g_y1 = (
                x[some] for x in (state.y1, state.y2, state.s1, state.s2, kept[0], kept[1])
            )
            torch.index_select(h_a, 0, center, out=h)
            h.add_(torch.index_select(h_b, 0, rows.neighbor[some], out=work))
            by_pair(h, rows).add_(h_c[those])
            _slope(y1, s1, slope)
            _curvature(y1, s1, slope, k1[some]).mul_(h).mul_(g_y1)
            h.mul_(slope)  # with respect to g_y1
            _slope(y2, s2, slope)
            g_z = times_(torch.mul(g_m, slope, out=work), u[those], rows)
            k_w2.addmm_(g_z.t(), h)
            h, spare = torch.mm(h, w2.t(), out=spare), h
            k = times_(_curvature(y2, s2, slope, k2[some]).mul_(h), u[those], rows)
            h.mul_(slope)  # with respect to g_y2
            k_u[those] = sum_of_pairs(torch.mul(h, g_m, out=work).sum(dim=1, keepdim=True), rows)
            by_pair(k, rows).addcmul_(by_pair(slope, rows), h_u[those])
            k.mul_(g_m)
            times_(h, u[those], rows)
            by_pair(h, rows).addcmul_(by_pair(y2, rows), h_u[those])  # with respect to g_m
            h_received.index_add_(0, center, h)
            if w3 is not None:
                y3, s3, pull = state.y3[some], state.s3[some], to_pulls[some]
                _slope(y3, s3, slope)
                _curvature(y3, s3, slope, k3[some])
                forces = torch.mul(pull.unsqueeze(1), w4, out=work)
                k3[some].mul_(forces)
                k_w3.addmm_(forces.mul_(slope).t(), h)
                h, spare = torch.mm(h, w3.t(), out=spare), h
                k3[some].mul_(h)
                h.mul_(slope)
                torch.mv(h, w4, out=h_pulls[some])
                k_w4.addmv_(h.t(), pull)
    return h_received, h_pulls, k_u, k_w2, k_w3, k_w4, k1, k2, k3


def _slope(y: Tensor, s: Tensor, out: Tensor) -> Tensor:
    """Write the derivative y' of ``y = z s(z)`` to `out`."""
    return torch.add(s, y, out=out).addcmul_(y, s, value=-1)


def _curvature(y: Tensor, s: Tensor, slope: Tensor, out: Tensor) -> Tensor:
    """Write the second derivative ``y'' = (1 - s) (y' + s - y s)`` to `out`."""
    torch.add(s, slope, out=out).addcmul_(y, s, value=-1)
    return out.addcmul_(out, s, value=-1)


def slices(rows: EdgeRows, like: Tensor, count: int) -> Iterator[tuple[slice, slice, list[Tensor]]]:
    """Yield the rows and the pairs of each slice, and `count` work arrays that all slices share.

    Allocating new arrays for each slice would take longer than the arithmetic.
    """
    width, length = like.shape[1], min(rows.ways * rows.length, rows.edge.shape[0])
    work = [like.new_empty(length, width) for _ in range(count)]
    for some, those in rows.slices():
        yield some, those, [array[: some.stop - some.start] for array in work]
