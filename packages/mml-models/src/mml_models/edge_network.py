"""The network that EGNN runs on every edge, and its first and second derivative in closed form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import Function

from mml_models.activations import SiLU
from mml_models.edges import Edges
from mml_models.pairs import Pairs

_NUMBERS_IN_A_SLICE = 2**17
"""So many of each array are worked on at once: what is computed of them stays in the processor's cache."""


@dataclass(frozen=True)
class EdgeRows:
    """E edges in the order in which they are worked on, those of a pair in the same slice.

    Parameters
    ----------
    edge
        [E] int64: the edge of each row.
    centre, neighbour
        [E] int64.
    pair
        [E] int64.
    first
        [P] int64: the row of the first edge of each pair.
    ways
        The number of edges of a pair: 2, or 1 where edges do not come in pairs.
    length
        The number of pairs of a slice. A slice has `ways` blocks of that many rows.
    """

    edge: Tensor
    centre: Tensor
    neighbour: Tensor
    pair: Tensor
    first: Tensor
    ways: int
    length: int

    def slices(self) -> Iterator[tuple[slice, slice]]:
        """Yield the rows and the pairs of each slice."""
        num_pairs = self.first.shape[0]
        for start in range(0, num_pairs, self.length):
            end = min(start + self.length, num_pairs)
            yield slice(self.ways * start, self.ways * end), slice(start, end)


def edge_rows(edges: Edges, pairs: Pairs, width: int) -> EdgeRows:
    """Put edges in the order in which a network of some width is run on them."""
    device = edges.centre.device
    if pairs.edges is None:
        ways = [torch.arange(edges.centre.shape[0], device=device)]
    else:
        ways = list(pairs.edges)
    num_pairs = ways[0].shape[0]
    length = max(1, num_pairs)
    if device.type == "cpu":
        length = max(1, min(length, _NUMBERS_IN_A_SLICE // (len(ways) * width)))
    number = torch.arange(num_pairs, device=device)
    edge, pair = (_in_slices(parts, length) for parts in (ways, [number] * len(ways)))
    before = number // length * length
    first = number + (len(ways) - 1) * before
    return EdgeRows(edge, edges.centre[edge], edges.neighbour[edge], pair, first, len(ways), length)


def _in_slices(ways: list[Tensor], length: int) -> Tensor:
    slices = zip(*(way.split(length) for way in ways), strict=True)
    return torch.cat([part for parts in slices for part in parts])


class Weights(NamedTuple):
    """Of the layers after the first; the last three where edges also pull."""

    second: Tensor
    second_bias: Tensor
    third: Tensor | None = None
    third_bias: Tensor | None = None
    last: Tensor | None = None


def run_edge_network(
    from_centre: Tensor,
    from_neighbour: Tensor,
    from_pair: Tensor,
    envelope: Tensor,
    weights: Weights,
    activation: nn.Module,
    rows: EdgeRows,
) -> tuple[Tensor, Tensor | None]:
    """Sum messages over the neighbours of each atom, and say how strongly each edge pulls.

    With p the pair of the edge from i to j::

        m_ij = f(W f(a_i + b_j + c_p) + w) u_p
        y_i = sum_j m_ij
        t_ij = v . f(V m_ij + v')

    Satorras et al. 2021 (arXiv 2102.09844): phi_e and phi_x after their first linear map.

    Where f is `SiLU`, the network is run on slices of edges that fit in the processor's cache, and both
    derivatives are there in closed form; third ones are taken of the plain operations.

    Parameters
    ----------
    from_centre, from_neighbour
        a and b, [N, F].
    from_pair
        c, [P, F].
    envelope
        u, [P, 1].
    weights
        W [F, F], w [F], and V [F, F], v' [F], v [F] where edges pull.
    activation
        f.
    rows
        The E edges.

    Returns
    -------
    tuple
        y [N, F], and t [E] by rows, or None.
    """
    if not isinstance(activation, SiLU) or torch.compiler.is_compiling():
        return _plain(from_centre, from_neighbour, from_pair, envelope, weights, activation, rows)
    dtype = weights.second.dtype  # under autocast, others come in half precision
    inputs = (part.to(dtype) for part in (from_centre, from_neighbour, from_pair, envelope))
    received, pulls, *_ = _EdgeNetwork.apply(*inputs, *weights, rows)
    return received, pulls


def _plain(
    from_centre: Tensor,
    from_neighbour: Tensor,
    from_pair: Tensor,
    envelope: Tensor,
    weights: Weights,
    activation: nn.Module,
    rows: EdgeRows,
) -> tuple[Tensor, Tensor | None]:
    first = from_centre.index_select(0, rows.centre) + from_neighbour.index_select(0, rows.neighbour)
    hidden = activation(first + from_pair.index_select(0, rows.pair))
    hidden = activation(nn.functional.linear(hidden, weights.second, weights.second_bias))
    messages = hidden * envelope.index_select(0, rows.pair)
    received = messages.new_zeros(from_centre.shape[0], messages.shape[1])
    received = received.index_add(0, rows.centre, messages)
    if weights.third is None:
        return received, None
    assert weights.last is not None
    hidden = activation(nn.functional.linear(messages, weights.third, weights.third_bias))
    return received, nn.functional.linear(hidden, weights.last.unsqueeze(0)).squeeze(-1)


class _State(NamedTuple):
    """What the way forth leaves: activations y and sigmoids s of the three layers, [E, F]."""

    y1: Tensor
    y2: Tensor
    y3: Tensor | None
    s1: Tensor
    s2: Tensor
    s3: Tensor | None


class _EdgeNetwork(Function):
    """The network; its outputs y1, y2, y3 carry back what second derivatives add to the slopes before them.

    The gradient of "y1" is by convention that of the numbers that the first activation is applied to, and so
    on: there the terms of the second derivative join those of the first, and go back together.
    """

    @staticmethod
    def forward(ctx: Any, *args: Any) -> tuple[Tensor | None, ...]:
        *tensors, rows = args
        received, pulls, state = _forth(*tensors, rows)
        ctx.save_for_backward(*tensors, *state)
        ctx.rows = rows
        ctx.set_materialize_grads(False)
        return received, pulls, *state[:3]

    @staticmethod
    def backward(ctx: Any, to_received: Tensor | None, to_pulls: Tensor | None, *more: Tensor | None) -> Any:
        tensors, state = ctx.saved_tensors[:9], _State(*ctx.saved_tensors[9:])
        if to_received is None:
            to_received = torch.zeros_like(tensors[0])
        if to_pulls is None and state.y3 is not None:
            to_pulls = state.y3.new_zeros(state.y3.shape[0])
        if torch.is_grad_enabled():
            gradients = _EdgeNetworkGradient.apply(to_received, to_pulls, *tensors, *state, ctx.rows)
        else:
            gradients, *_ = _back(to_received, to_pulls, tensors, state, more, ctx.rows)
        return *gradients, None


class _EdgeNetworkGradient(Function):
    """The gradients of the network's nine inputs."""

    @staticmethod
    def forward(
        ctx: Any, to_received: Tensor, to_pulls: Tensor | None, *args: Any
    ) -> tuple[Tensor | None, ...]:
        tensors, state, rows = args[:9], _State(*args[9:15]), args[15]
        gradients, *kept = _back(to_received, to_pulls, tensors, state, (None, None, None), rows)
        ctx.save_for_backward(to_received, to_pulls, *tensors, *state, *kept)
        ctx.rows = rows
        ctx.set_materialize_grads(False)
        return gradients

    @staticmethod
    def backward(ctx: Any, *outer: Tensor | None) -> Any:
        to_received, to_pulls, *rest = ctx.saved_tensors
        tensors, state, kept = rest[:9], _State(*rest[9:15]), rest[15:]
        weights = outer[4:]
        if torch.is_grad_enabled() or any(part is not None for part in weights):
            return *_differentiate_plain(to_received, to_pulls, tensors, outer, ctx.rows), *(None,) * 7
        found = _second(outer[:4], to_pulls, tensors, state, kept, ctx.rows)
        to_to_received, to_to_pulls, envelope, second, third, last, *to_states = found
        inputs = (None, None, None, envelope, second, None, third, None, last)
        return to_to_received, to_to_pulls, *inputs, *to_states, None, None, None, None


def _forth(
    a: Tensor,
    b: Tensor,
    c: Tensor,
    u: Tensor,
    w2: Tensor,
    w2_bias: Tensor,
    w3: Tensor | None,
    w3_bias: Tensor | None,
    w4: Tensor | None,
    rows: EdgeRows,
) -> tuple[Tensor, Tensor | None, _State]:
    count, width = rows.edge.shape[0], a.shape[1]
    layers = 2 if w3 is None else 3
    y, s = ([a.new_empty(count, width) for _ in range(layers)] for _ in range(2))
    received = torch.zeros_like(a)
    pulls = None if w3 is None else a.new_empty(count)
    with torch.autocast(a.device.type, enabled=False):
        for some, those in rows.slices():
            centre = rows.centre[some]
            z = a.index_select(0, centre).add_(b.index_select(0, rows.neighbour[some]))
            z.view(rows.ways, -1, width).add_(c[those])
            torch.mul(z, torch.sigmoid(z, out=s[0][some]), out=y[0][some])
            z = torch.addmm(w2_bias, y[0][some], w2.t())
            torch.mul(z, torch.sigmoid(z, out=s[1][some]), out=y[1][some])
            messages = _times(y[1][some], u[those], rows)
            received.index_add_(0, centre, messages)
            if w3 is not None and w3_bias is not None and w4 is not None and pulls is not None:
                z = torch.addmm(w3_bias, messages, w3.t())
                torch.mul(z, torch.sigmoid(z, out=s[2][some]), out=y[2][some])
                torch.mv(y[2][some], w4, out=pulls[some])
    if layers == 2:
        return received, None, _State(y[0], y[1], None, s[0], s[1], None)
    return received, pulls, _State(*y, *s)


def _back(
    to_received: Tensor,
    to_pulls: Tensor | None,
    tensors: Any,
    state: _State,
    more: tuple[Tensor | None, ...],
    rows: EdgeRows,
) -> tuple[tuple[Tensor | None, ...], Tensor, Tensor]:
    """Return the gradients of the inputs, and of the messages and of y1 by rows."""
    a, b, c, u, w2, w2_bias, w3, w3_bias, w4 = tensors
    width = a.shape[1]
    g_a, g_b, g_c, g_u, g_w2, g_w2_bias = (torch.zeros_like(x) for x in (a, b, c, u, w2, w2_bias))
    g_w3, g_w3_bias, g_w4 = (None if x is None else torch.zeros_like(x) for x in (w3, w3_bias, w4))
    g_messages, g_y1 = torch.empty_like(state.y1), torch.empty_like(state.y1)
    with torch.autocast(a.device.type, enabled=False):
        for some, those in rows.slices():
            centre = rows.centre[some]
            y1, y2, s1, s2 = (x[some] for x in (state.y1, state.y2, state.s1, state.s2))
            g_m = torch.index_select(to_received, 0, centre, out=g_messages[some])
            if w3 is not None:
                y3, s3, pull = state.y3[some], state.s3[some], to_pulls[some]
                g_z = _slope(y3, s3).mul_(w4).mul_(pull.unsqueeze(1))
                if more[2] is not None:
                    g_z.add_(more[2][some])
                g_m.addmm_(g_z, w3)
                g_w3.addmm_(g_z.t(), _times(y2, u[those], rows))
                g_w3_bias.add_(g_z.sum(dim=0))
                g_w4.addmv_(y3.t(), pull)
            g_u[those] = _of_pairs((g_m * y2).sum(dim=1, keepdim=True), rows)
            g_z = _times(_slope(y2, s2).mul_(g_m), u[those], rows)
            if more[1] is not None:
                g_z.add_(more[1][some])
            g_w2.addmm_(g_z.t(), y1)
            g_w2_bias.add_(g_z.sum(dim=0))
            torch.mm(g_z, w2, out=g_y1[some])
            g_z = _slope(y1, s1).mul_(g_y1[some])
            if more[0] is not None:
                g_z.add_(more[0][some])
            g_a.index_add_(0, centre, g_z)
            g_b.index_add_(0, rows.neighbour[some], g_z)
            torch.sum(g_z.view(rows.ways, -1, width), 0, out=g_c[those])
    return (g_a, g_b, g_c, g_u, g_w2, g_w2_bias, g_w3, g_w3_bias, g_w4), g_messages, g_y1


def _second(
    outer: tuple[Tensor | None, ...],
    to_pulls: Tensor | None,
    tensors: Any,
    state: _State,
    kept: Any,
    rows: EdgeRows,
) -> tuple[Tensor | None, ...]:
    """Differentiate ``sum(h_a g_a + h_b g_b + h_c g_c + h_u g_u)``, with g what `_back` gives without `more`.

    By what went into `_back`, by u, W, V, v, and by the numbers before each activation.
    """
    a, b, c, u, w2, _, w3, _, w4 = tensors
    width = a.shape[1]
    h_a, h_b, h_c, h_u = (
        torch.zeros_like(x) if h is None else h for h, x in zip(outer, (a, b, c, u), strict=True)
    )
    h_received, k_u, k_w2 = torch.zeros_like(a), torch.zeros_like(u), torch.zeros_like(w2)
    h_pulls, k_w3, k_w4 = (None if x is None else torch.zeros_like(x) for x in (to_pulls, w3, w4))
    k1, k2 = torch.empty_like(state.y1), torch.empty_like(state.y1)
    k3 = None if w3 is None else torch.empty_like(state.y1)
    with torch.autocast(a.device.type, enabled=False):
        for some, those in rows.slices():
            centre = rows.centre[some]
            y1, y2, s1, s2, g_m, g_y1 = (
                x[some] for x in (state.y1, state.y2, state.s1, state.s2, kept[0], kept[1])
            )
            h = h_a.index_select(0, centre).add_(h_b.index_select(0, rows.neighbour[some]))
            h.view(rows.ways, -1, width).add_(h_c[those])
            slope = _slope(y1, s1)
            torch.mul(_curvature(y1, s1, slope), h, out=k1[some]).mul_(g_y1)
            h.mul_(slope)  # of g_y1
            slope = _slope(y2, s2)
            g_u = _times(g_m * slope, u[those], rows)  # of the numbers before the second activation
            k_w2.addmm_(g_u.t(), h)
            h = h @ w2.t()
            k = _times(_curvature(y2, s2, slope).mul_(h), u[those], rows)
            h.mul_(slope)  # of the gradient of y2
            k_u[those] = _of_pairs((h * g_m).sum(dim=1, keepdim=True), rows)
            k.add_(_times(slope, h_u[those], rows))
            torch.mul(k, g_m, out=k2[some])
            h = _times(h, u[those], rows).add_(_times(y2, h_u[those], rows))  # of the gradient of messages
            h_received.index_add_(0, centre, h)
            if w3 is not None and to_pulls is not None:
                assert state.y3 is not None and state.s3 is not None
                assert h_pulls is not None and k_w3 is not None and k_w4 is not None and k3 is not None
                y3, s3, pull = state.y3[some], state.s3[some], to_pulls[some]
                slope = _slope(y3, s3)
                curvature = _curvature(y3, s3, slope)
                forces = torch.outer(pull, w4)
                k_w3.addmm_((slope * forces).t(), h)
                h = h @ w3.t()
                torch.mul(curvature.mul_(forces), h, out=k3[some])
                h.mul_(slope)
                torch.mv(h, w4, out=h_pulls[some])
                k_w4.addmv_(h.t(), pull)
    return h_received, h_pulls, k_u, k_w2, k_w3, k_w4, k1, k2, k3


def _differentiate_plain(
    to_received: Tensor, to_pulls: Tensor | None, tensors: Any, outer: Any, rows: EdgeRows
) -> list[Tensor | None]:
    """Differentiate the gradients of `_plain`, such that it can be done again."""
    again = torch.is_grad_enabled()
    given = (to_received, to_pulls, *tensors)
    with torch.enable_grad():
        # Views: what these depend on among themselves is no part of it.
        inputs = [None if x is None else x.view_as(x) for x in given]
        inputs = [x if x is None or x.requires_grad else x.requires_grad_() for x in inputs]
        a, b, c, u = inputs[2:6]
        outputs = _plain(a, b, c, u, Weights(*inputs[6:]), SiLU(), rows)
        some = [x for x in inputs[2:] if x is not None]
        gradients = torch.autograd.grad(
            [x for x in outputs if x is not None],
            some,
            [x for x in inputs[:2] if x is not None],
            create_graph=True,
        )
        by_input = iter(gradients)
        all_gradients = [None if x is None else next(by_input) for x in inputs[2:]]
        chosen = [
            (g, h) for g, h in zip(all_gradients, outer, strict=True) if g is not None and h is not None
        ]
        present = [x for x in inputs if x is not None]
        found = iter(
            torch.autograd.grad(
                [g for g, _ in chosen],
                present,
                [h for _, h in chosen],
                create_graph=again,
                allow_unused=True,
            )
        )
    return [None if x is None else next(found) for x in inputs]


def _times(values: Tensor, factors: Tensor, rows: EdgeRows) -> Tensor:
    """Multiply the rows of a slice [R, F] by the factors [P, 1] of their pairs."""
    return (values.view(rows.ways, -1, values.shape[1]) * factors).view(values.shape)


def _of_pairs(values: Tensor, rows: EdgeRows) -> Tensor:
    """Add up the rows of a slice [R, 1] over the edges of each pair: [P, 1]."""
    return values.view(rows.ways, -1, 1).sum(dim=0)


def _slope(y: Tensor, s: Tensor) -> Tensor:
    """Return y' of ``y = z s(z)``."""
    return (s + y).addcmul_(y, s, value=-1)


def _curvature(y: Tensor, s: Tensor, slope: Tensor) -> Tensor:
    """Return ``y'' = (1 - s) (y' + s - y s)``."""
    result = (s + slope).addcmul_(y, s, value=-1)
    return result.addcmul_(result, s, value=-1)
