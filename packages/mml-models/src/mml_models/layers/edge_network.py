"""Edge network of EGNN, with its first and second derivatives in closed form."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import Function

from mml_models.layers.activations import SiLU
from mml_models.layers.edge_network_kernels import State, back, forth, second
from mml_models.layers.edge_rows import EdgeRows
from mml_models.traced import traced_as


class Weights(NamedTuple):
    """Weights of the layers after the first. The last three are None if no pulls are computed."""

    second: Tensor
    second_bias: Tensor
    third: Tensor | None = None
    third_bias: Tensor | None = None
    last: Tensor | None = None


def run_plain(
    from_center: Tensor,
    from_neighbor: Tensor,
    from_pair: Tensor,
    envelope: Tensor,
    weights: Weights,
    activation: nn.Module,
    rows: EdgeRows,
) -> tuple[Tensor, Tensor | None]:
    """Compute `run_edge_network` with plain PyTorch operations on arrays [E, F] of all edges."""
    first = from_center.index_select(0, rows.center) + from_neighbor.index_select(0, rows.neighbor)
    hidden = activation(first + from_pair.index_select(0, rows.pair))
    hidden = activation(nn.functional.linear(hidden, weights.second, weights.second_bias))
    messages = hidden * envelope.index_select(0, rows.pair)
    received = messages.new_zeros(from_center.shape[0], messages.shape[1])
    received = received.index_add(0, rows.center, messages)
    if weights.third is None:
        return received, None
    assert weights.last is not None
    hidden = activation(nn.functional.linear(messages, weights.third, weights.third_bias))
    return received, nn.functional.linear(hidden, weights.last.unsqueeze(0)).squeeze(-1)


@traced_as(run_plain)
def run_edge_network(
    from_center: Tensor,
    from_neighbor: Tensor,
    from_pair: Tensor,
    envelope: Tensor,
    weights: Weights,
    activation: nn.Module,
    rows: EdgeRows,
) -> tuple[Tensor, Tensor | None]:
    """Compute the sum of the messages to each atom, and the pull of each edge.

    With the pair p of the edge from i to j::

        m_ij = f(W f(a_i + b_j + c_p) + w) u_p
        y_i = sum_j m_ij
        t_ij = v . f(V m_ij + v')

    These are phi_e, after its first linear map, and phi_x of Satorras et al. 2021 (arXiv 2102.09844).

    If f is `SiLU`, the network runs on slices of edges that fit in the processor's cache, and its first and
    second derivatives are computed in closed form. Third derivatives are those of `run_plain`. For any other
    activation, this function calls `run_plain`. `torch.compile` always traces `run_plain`.

    Parameters
    ----------
    from_center, from_neighbor
        Terms a and b, [N, F].
    from_pair
        Term c, [P, F].
    envelope
        Envelope u, [P, 1].
    weights
        W [F, F], w [F] and, to compute pulls, V [F, F], v' [F] and v [F].
    activation
        Activation f.
    rows
        The E edges in processing order.

    Returns
    -------
    tuple
        The sums y, [N, F], and the pulls t, [E], in the order of `rows`. t is None if V, v' and v are None.
    """
    if not isinstance(activation, SiLU):
        return run_plain(from_center, from_neighbor, from_pair, envelope, weights, activation, rows)
    dtype = weights.second.dtype  # under autocast, the other inputs are in half precision
    inputs = (part.to(dtype) for part in (from_center, from_neighbor, from_pair, envelope))
    received, pulls, *_ = _EdgeNetwork.apply(*inputs, *weights, rows)
    return received, pulls


class _EdgeNetwork(Function):
    """The edge network. Its outputs y1, y2, y3 carry terms of second derivatives back to earlier layers.

    By convention, the "gradient of y1" is the gradient with respect to the input of the first activation, and
    likewise for y2 and y3. The backward pass adds these terms of the second derivative to those of the first
    derivative, and propagates their sum.
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
    """Gradients with respect to the nine inputs of the network."""

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
    """Differentiate the gradients of `run_plain`. The result can be differentiated again."""
    again = torch.is_grad_enabled()
    given = (to_received, to_pulls, *tensors)
    with torch.enable_grad():
        # Views cut dependencies between the inputs.
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
