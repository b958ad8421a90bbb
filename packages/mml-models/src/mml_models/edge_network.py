"""The network that EGNN runs on every edge, and its first and second derivative in closed form."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import Function

from mml_models.activations import SiLU
from mml_models.edge_network_kernels import State, back, forth, second
from mml_models.edge_rows import EdgeRows
from mml_models.traced import traced_as


class Weights(NamedTuple):
    """The weights of the layers after the first; the last three are None if edges do not pull."""

    second: Tensor
    second_bias: Tensor
    third: Tensor | None = None
    third_bias: Tensor | None = None
    last: Tensor | None = None


def run_plain(
    from_centre: Tensor,
    from_neighbour: Tensor,
    from_pair: Tensor,
    envelope: Tensor,
    weights: Weights,
    activation: nn.Module,
    rows: EdgeRows,
) -> tuple[Tensor, Tensor | None]:
    """Compute `run_edge_network` in plain operations, with arrays of [E, F] for all edges at once."""
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


@traced_as(run_plain)
def run_edge_network(
    from_centre: Tensor,
    from_neighbour: Tensor,
    from_pair: Tensor,
    envelope: Tensor,
    weights: Weights,
    activation: nn.Module,
    rows: EdgeRows,
) -> tuple[Tensor, Tensor | None]:
    """Sum messages over the neighbours of each atom, and compute how strongly each edge pulls.

    With p the pair of the edge from i to j::

        m_ij = f(W f(a_i + b_j + c_p) + w) u_p
        y_i = sum_j m_ij
        t_ij = v . f(V m_ij + v')

    Satorras et al. 2021 (arXiv 2102.09844): phi_e and phi_x after their first linear map.

    If f is `SiLU`, the network runs on slices of edges that fit in the processor's cache, and its first and
    second derivatives are in closed form; third derivatives are those of `run_plain`. With other activations
    `run_plain` is used, and `torch.compile` traces it.

    Parameters
    ----------
    from_centre, from_neighbour
        a and b, [N, F].
    from_pair
        c, [P, F].
    envelope
        u, [P, 1].
    weights
        W [F, F], w [F], and V [F, F], v' [F], v [F] if edges pull.
    activation
        f.
    rows
        The E edges.

    Returns
    -------
    tuple
        y [N, F], and t [E] by rows, or None.
    """
    if not isinstance(activation, SiLU):
        return run_plain(from_centre, from_neighbour, from_pair, envelope, weights, activation, rows)
    dtype = weights.second.dtype  # under autocast, others come in half precision
    inputs = (part.to(dtype) for part in (from_centre, from_neighbour, from_pair, envelope))
    received, pulls, *_ = _EdgeNetwork.apply(*inputs, *weights, rows)
    return received, pulls


class _EdgeNetwork(Function):
    """The network; through its outputs y1, y2, y3, terms of second derivatives go back to earlier layers.

    The gradient of "y1" is by convention that of the numbers that the first activation is applied to, and so
    on: there the terms of the second derivative join those of the first, and go back together.
    """

    @staticmethod
    def forward(ctx: Any, *args: Any) -> tuple[Tensor | None, ...]:
        *tensors, rows = args
        received, pulls, state = forth(tensors, rows)
        ctx.save_for_backward(*tensors, *state)
        ctx.rows = rows
        ctx.set_materialize_grads(False)
        return received, pulls, *state[:3]

    @staticmethod
    def backward(ctx: Any, to_received: Tensor | None, to_pulls: Tensor | None, *more: Tensor | None) -> Any:
        tensors, state = ctx.saved_tensors[:9], State(*ctx.saved_tensors[9:])
        if to_received is None:
            to_received = torch.zeros_like(tensors[0])
        if to_pulls is None and state.y3 is not None:
            to_pulls = state.y3.new_zeros(state.y3.shape[0])
        if torch.is_grad_enabled():
            gradients = _EdgeNetworkGradient.apply(to_received, to_pulls, *tensors, *state, ctx.rows)
        else:
            gradients, *_ = back(to_received, to_pulls, tensors, state, more, ctx.rows)
        return *gradients, None


class _EdgeNetworkGradient(Function):
    """The gradients of the network's nine inputs."""

    @staticmethod
    def forward(
        ctx: Any, to_received: Tensor, to_pulls: Tensor | None, *args: Any
    ) -> tuple[Tensor | None, ...]:
        tensors, state, rows = args[:9], State(*args[9:15]), args[15]
        gradients, *kept = back(to_received, to_pulls, tensors, state, (None, None, None), rows)
        ctx.save_for_backward(to_received, to_pulls, *tensors, *state, *kept)
        ctx.rows = rows
        ctx.set_materialize_grads(False)
        return gradients

    @staticmethod
    def backward(ctx: Any, *outer: Tensor | None) -> Any:
        to_received, to_pulls, *rest = ctx.saved_tensors
        tensors, state, kept = rest[:9], State(*rest[9:15]), rest[15:]
        weights = outer[4:]
        if torch.is_grad_enabled() or any(part is not None for part in weights):
            return *_differentiate_plain(to_received, to_pulls, tensors, outer, ctx.rows), *(None,) * 7
        found = second(outer[:4], to_pulls, tensors, state, kept, ctx.rows)
        to_to_received, to_to_pulls, k_u, k_w2, k_w3, k_w4, *to_states = found
        inputs = (None, None, None, k_u, k_w2, None, k_w3, None, k_w4)
        return to_to_received, to_to_pulls, *inputs, *to_states, None, None, None, None


def _differentiate_plain(
    to_received: Tensor, to_pulls: Tensor | None, tensors: Any, outer: Any, rows: EdgeRows
) -> list[Tensor | None]:
    """Differentiate the gradients of `run_plain`; the result can be differentiated again."""
    again = torch.is_grad_enabled()
    given = (to_received, to_pulls, *tensors)
    with torch.enable_grad():
        # Views, so that dependencies among the inputs themselves are left out.
        inputs: list[Any] = [None if x is None else x.view_as(x) for x in given]
        inputs = [x if x is None or x.requires_grad else x.requires_grad_() for x in inputs]
        a, b, c, u = inputs[2:6]
        outputs = run_plain(a, b, c, u, Weights(*inputs[6:]), SiLU(), rows)
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
