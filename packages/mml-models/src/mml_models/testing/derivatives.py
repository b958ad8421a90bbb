"""Checks of first and second derivatives of energies, and of their continuity at the cutoff."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import torch
from mml_samples import Batch
from torch import Tensor, nn

from mml_models.testing.crystals import Crystal, crystal_batch
from mml_models.testing.energy import (
    Encoder,
    energy,
    forces,
    position_gradient,
    readout,
    require,
    require_close,
)

STEP = 1e-6
"""Step of finite differences, angstrom. It is so small that no edge crosses the cutoff.

Derivatives of higher order than the forces may jump at the cutoff.
"""


def check_forces(encoder: Encoder, crystal: Crystal, cutoff: float, seed: int) -> None:
    """Compare forces with central differences of the energy along random directions, with rebuilt edges."""
    generator = torch.Generator().manual_seed(seed)
    found = forces(encoder, crystal, cutoff)
    for _ in range(3):
        direction = torch.randn(crystal.pos.shape, generator=generator, dtype=torch.float64)
        up, down = (
            energy(encoder, replace(crystal, pos=crystal.pos + sign * STEP * direction), cutoff)
            for sign in (1.0, -1.0)
        )
        difference = torch.tensor((down - up) / (2 * STEP), dtype=torch.float64)
        require_close((found * direction).sum(), difference, "Forces and finite differences", 1e-4)


def check_stress(encoder: Encoder, crystal: Crystal, cutoff: float, seed: int) -> None:
    """Compare dE/dstrain, computed through `pos` and `offsets`, with central differences of the energy."""
    if crystal.cell is None:
        return
    direction = torch.randn(3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    direction = direction + direction.T
    batch = crystal_batch([crystal], cutoff)
    strain = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
    graph = batch["graph"]
    graph.pos, graph.offsets = graph.pos + graph.pos @ strain, graph.offsets + graph.offsets @ strain
    (gradient,) = torch.autograd.grad(readout(encoder(batch).point_embedding) + 0.0 * strain.sum(), strain)
    ends = []
    for sign in (1.0, -1.0):
        matrix = torch.eye(3, dtype=torch.float64) + sign * STEP * direction
        ends.append(
            energy(encoder, Crystal(crystal.numbers, crystal.pos @ matrix, crystal.cell @ matrix), cutoff)
        )
    difference = torch.tensor((ends[0] - ends[1]) / (2 * STEP), dtype=torch.float64)
    require_close(
        (gradient * direction).sum(), difference, "Derivative by strain and finite differences", 1e-4
    )


def check_cutoff(encoder: Encoder, crystal: Crystal, cutoff: float, seed: int) -> None:
    """Check that energy and forces are continuous when an atom moves across the cutoff of another atom.

    The other atom has a second neighbor on its far side. The check therefore also fails for encoders that
    divide sums by the number of neighbors.
    """
    numbers = crystal.numbers[torch.arange(3) % len(crystal.numbers)]

    def trimer(distance: float) -> Crystal:
        pos = torch.tensor([[0.0, 0.0, 0.0], [-0.5 * cutoff, 0.1 * cutoff, 0.0], [distance, 0.0, 0.0]])
        return Crystal(numbers, pos.double(), None)

    inside, outside, bound = (trimer(cutoff * x) for x in (1.0 - 1e-6, 1.0 + 1e-6, 0.6))
    apart = trimer(1.4 * cutoff)
    scale = float((forces(encoder, bound, cutoff) - forces(encoder, apart, cutoff)).abs().max())
    require(scale > 0, "An atom at 0.6 times the cutoff exerts no force, so the encoder ignores its edges")
    jump = abs(energy(encoder, inside, cutoff) - energy(encoder, outside, cutoff))
    require(
        jump <= 1e-4 * scale * cutoff,
        f"The energy jumps by {jump:.3g} when an edge reaches the cutoff (forces are about {scale:.3g})",
    )
    kick = float((forces(encoder, inside, cutoff) - forces(encoder, outside, cutoff)).abs().max())
    require(
        kick <= 1e-3 * scale,
        f"Forces jump by {kick:.3g} when an edge reaches the cutoff (shorter edges: {scale:.3g})",
    )


def check_second_derivatives(encoder: Encoder, crystal: Crystal, cutoff: float, seed: int) -> None:
    """Compare the gradients of a force loss, by positions and by parameters, with central differences.

    The force loss is ``sum(F^2)``. Its gradient, which training on forces needs, differentiates the encoder
    twice.
    """
    generator = torch.Generator().manual_seed(seed)
    batch = crystal_batch([crystal], cutoff)
    parameters = {name: p for name, p in _parameters(encoder) if p.requires_grad}
    gradient = position_gradient(encoder, batch, create_graph=True)
    if not gradient.requires_grad:
        raise AssertionError("The forces have no gradient, so the encoder cannot be trained on them")
    pos = batch["graph"].pos
    inputs = {"positions": pos, **parameters}
    found = torch.autograd.grad(
        gradient.square().sum(), list(inputs.values()), allow_unused=True, materialize_grads=True
    )
    for grad in found:
        require(bool(grad.isfinite().all()), "A gradient of the forces is not finite")
    for what, chosen in (("positions", slice(0, 1)), ("parameters", slice(1, None))):
        directions = [torch.zeros_like(grad) for grad in found]
        directions[chosen] = [direction_of(grad, generator) for grad in found[chosen]]
        slope = torch.stack([(g * d).sum() for g, d in zip(found, directions, strict=True)]).sum()
        up, down = (
            _force_square(encoder, batch, pos.detach(), directions, sign * STEP) for sign in (1.0, -1.0)
        )
        difference = (up - down) / (2 * STEP)
        require_close(slope, difference, f"Gradient of a force loss by {what} and finite differences", 1e-4)


def direction_of(gradient: Tensor, generator: torch.Generator) -> Tensor:
    """Return the sum of the unit vector along the gradient and a random unit vector.

    The first vector makes the slope along this direction nonzero in general.
    """
    noise = torch.randn(gradient.shape, generator=generator, dtype=torch.float64)
    return gradient / gradient.norm().clamp(min=1e-12) + noise / noise.norm()


def _parameters(encoder: Encoder) -> list[tuple[str, nn.Parameter]]:
    return list(encoder.named_parameters()) if isinstance(encoder, nn.Module) else []


def _force_square(
    encoder: Encoder, batch: Batch, pos: Tensor, directions: list[Tensor], step: float
) -> Tensor:
    shifted = deepcopy(encoder)
    trained = [parameter for _, parameter in _parameters(shifted) if parameter.requires_grad]
    with torch.no_grad():
        for parameter, direction in zip(trained, directions[1:], strict=True):
            parameter.add_(direction, alpha=step)
    batch["graph"].pos = pos + step * directions[0]
    return position_gradient(shifted, batch, create_graph=False).square().sum()
