"""Checks of an encoder in half precision and with deterministic algorithms."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import torch
from mml_samples import Batch
from torch import Tensor, nn

from mml_models.testing.crystals import Crystal, crystal_batch, random_crystal
from mml_models.testing.energy import Encoder, points_and_forces, position_gradient, require, require_close

_BFLOAT16 = 0.2
"""Tolerance relative to the largest value of four crystals.

bfloat16 has 8 bits of mantissa. In 400 batches of random crystals, the largest error of forces was 0.6 % for
EGNN, 3 % for SchNet, 11 % for PaiNN and 14 % for MEGNet; the median was at most 3 %.
"""


def check_autocast(encoder: Encoder, crystal: Crystal, cutoff: float, seed: int) -> None:
    """Check that embeddings and forces under autocast to bfloat16 agree with those in float32.

    The tolerance is 20 % of the largest value. Three more crystals are in the batch, because the forces of a
    single one may nearly cancel, unlike their rounding errors. The gradient of a force loss must be
    computable under autocast as well.
    """
    if not isinstance(encoder, nn.Module):
        return
    others = (random_crystal(1000 + seed + i, 2, crystal.numbers.tolist()) for i in range(3))
    if crystal.cell is None:
        others = (replace(other, cell=None) for other in others)
    crystals = [crystal, *others]
    single, batch = deepcopy(encoder).float(), _in_float32(crystal_batch(crystals, cutoff))
    expected = points_and_forces(single, batch)
    try:
        with torch.autocast("cpu", torch.bfloat16):
            found = points_and_forces(single, batch, create_graph=True)
        found[1].square().sum().backward()
    except RuntimeError as error:
        raise AssertionError(f"The encoder cannot be run under autocast to bfloat16: {error}") from error
    for name, half, full in zip(("Point embeddings", "Forces"), found, expected, strict=True):
        require_close(half.detach().float(), full, f"{name} under autocast and in float32", _BFLOAT16)


def check_deterministic(encoder: Encoder, crystal: Crystal, cutoff: float, seed: int) -> None:
    """Check that two force-loss gradients with `torch.use_deterministic_algorithms` are bitwise equal."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        first, second = (_force_loss_gradients(encoder, crystal, cutoff) for _ in range(2))
    except RuntimeError as error:
        raise AssertionError(f"The encoder uses an operation that is not deterministic: {error}") from error
    finally:
        torch.use_deterministic_algorithms(before)
    same = all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    require(same, "Two runs with deterministic algorithms give different gradients")


def _force_loss_gradients(encoder: Encoder, crystal: Crystal, cutoff: float) -> tuple[Tensor, ...]:
    batch = crystal_batch([crystal], cutoff)
    gradient = position_gradient(encoder, batch, create_graph=True)
    parameters = encoder.parameters() if isinstance(encoder, nn.Module) else ()
    inputs = [batch["graph"].pos, *(parameter for parameter in parameters if parameter.requires_grad)]
    return torch.autograd.grad(gradient.square().sum(), inputs, allow_unused=True, materialize_grads=True)


def _in_float32(batch: Batch) -> Batch:
    graph = batch["graph"]
    for name in ("pos", "offsets", "images", "distances", "cell"):
        value = getattr(graph, name, None)
        if value is not None:
            setattr(graph, name, value.float())
    return batch
