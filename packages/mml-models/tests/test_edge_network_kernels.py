"""Compare the passes over slices with plain operations on all edges."""

from __future__ import annotations

import pytest
import torch
from mml_models.layers.edge_network_kernels import back, forth, second, slices

WIDTH = 3


def inputs(rows, pull):
    """Return a, b, c, u, W, w, V, v', v. The last three are None without `pull`."""
    generator = torch.Generator().manual_seed(0)
    num_pairs = len(rows.first)
    shapes = [(3, WIDTH), (3, WIDTH), (num_pairs, WIDTH), (num_pairs, 1), (WIDTH, WIDTH), (WIDTH,)]
    shapes += [(WIDTH, WIDTH), (WIDTH,), (WIDTH,)] if pull else []
    tensors = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    return tensors + [None] * (9 - len(tensors))


def layers(tensors, rows):
    """Return the messages, and the inputs z of the two or three activations."""
    a, b, c, u, w2, w2_bias, w3, w3_bias, _ = tensors
    z1 = a[rows.center] + b[rows.neighbor] + c[rows.pair]
    z2 = torch.nn.functional.silu(z1) @ w2.T + w2_bias
    messages = torch.nn.functional.silu(z2) * u[rows.pair]
    return messages, [z1, z2] if w3 is None else [z1, z2, messages @ w3.T + w3_bias]


@pytest.mark.parametrize("pull", [True, False])
def test_forward_saves_activations_and_sigmoids(rows, pull):
    tensors = inputs(rows, pull)
    received, pulls, state = forth(tensors, rows)
    messages, z = layers(tensors, rows)
    torch.testing.assert_close(received, torch.zeros(3, WIDTH).double().index_add(0, rows.center, messages))
    for k, y, s in ((0, state.y1, state.s1), (1, state.y2, state.s2), (2, state.y3, state.s3))[: len(z)]:
        torch.testing.assert_close(y, torch.nn.functional.silu(z[k]))
        torch.testing.assert_close(s, torch.sigmoid(z[k]))
    if pull:
        torch.testing.assert_close(pulls, torch.nn.functional.silu(z[2]) @ tensors[-1])
    else:
        assert (pulls, state.y3, state.s3) == (None, None, None)


@pytest.mark.parametrize("pull", [True, False])
def test_backward_adds_gradients_at_activations(rows, pull):
    tensors = [x if x is None else x.requires_grad_() for x in inputs(rows, pull)]
    messages, z = layers(tensors, rows)
    generator = torch.Generator().manual_seed(1)
    to_received, to_pulls, *more = (
        torch.randn(shape, generator=generator, dtype=torch.float64)
        for shape in ((3, WIDTH), (len(messages),), *(x.shape for x in z))
    )
    total = (messages * to_received[rows.center]).sum()
    total = total + sum((x * extra).sum() for x, extra in zip(z, more, strict=True))
    if pull:
        total = total + ((torch.nn.functional.silu(z[2]) @ tensors[-1]) * to_pulls).sum()
    expected = torch.autograd.grad(total, [x for x in tensors if x is not None])
    with torch.no_grad():
        state = forth(tensors, rows)[2]
        found, *_ = back(to_received, to_pulls if pull else None, tensors, state, (*more, None), rows)
    torch.testing.assert_close([x for x in found if x is not None], list(expected))


def test_second_backward_without_factors_is_zero(rows):
    tensors = inputs(rows, pull=True)
    received, pulls, state = forth(tensors, rows)
    _, *kept = back(received, pulls, tensors, state, (None, None, None), rows)
    found = second((None,) * 4, pulls, tensors, state, kept, rows)
    assert len(found) == 9
    assert not any(x.any() for x in found)


def test_slices_share_work_arrays(rows):
    seen, places = [], set()
    for some, those, (first, other) in slices(rows, torch.empty(3, WIDTH), 2):
        assert len(first) == len(other) == some.stop - some.start == rows.ways * (those.stop - those.start)
        seen += range(some.start, some.stop)
        places.add((first.data_ptr(), other.data_ptr()))
    assert seen == list(range(len(rows.edge)))
    assert len(places) == 1
