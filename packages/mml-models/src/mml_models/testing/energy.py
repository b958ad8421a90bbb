"""An energy out of any encoder, for the checks: a fixed random readout of the atoms, summed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from mml_models.testing.crystals import Crystal, crystal_batch


class EncoderOutput(Protocol):
    """What an encoder returns."""

    @property
    def system_embedding(self) -> Tensor:
        """[B, D]."""

    @property
    def point_embedding(self) -> Tensor:
        """[N, D]."""


Encoder = Callable[[Mapping[str, Any]], EncoderOutput]


def require(condition: bool, message: str) -> None:
    """Raise AssertionError with `message` unless `condition` holds."""
    if not condition:
        raise AssertionError(message)


def require_close(found: Tensor, expected: Tensor, message: str, tolerance: float = 1e-8) -> None:
    """Raise AssertionError unless two arrays agree within `tolerance` times the largest number expected."""
    require(found.shape == expected.shape, f"{message}: shape {[*found.shape]}, not {[*expected.shape]}.")
    if not found.numel():
        return
    scale = max(0.01, float(expected.detach().abs().max()))
    error = float((found - expected).detach().abs().max()) / scale
    require(error <= tolerance, f"{message}: they differ by {error:.3g}, more than {tolerance:.3g}.")


def readout(points: Tensor) -> Tensor:
    """Return the sum over atoms of a fixed random readout, [N, D] -> scalar."""
    generator = torch.Generator().manual_seed(7)
    weights = torch.randn(points.shape[1], generator=generator, dtype=torch.float64).to(points)
    return (points @ weights).sum()


def embed(encoder: Encoder, crystals: Sequence[Crystal], radius: float) -> EncoderOutput:
    """Return the encoder's output for a batch of crystals with edges up to `radius`."""
    return encoder(crystal_batch(crystals, radius))


def energy(encoder: Encoder, crystal: Crystal, radius: float) -> float:
    """Return the energy of a crystal with edges up to `radius`."""
    return float(readout(embed(encoder, [crystal], radius).point_embedding).detach())


def forces(encoder: Encoder, crystal: Crystal, radius: float) -> Tensor:
    """Return minus the gradient of the energy with respect to positions, [N, 3]."""
    batch = crystal_batch([crystal], radius)
    return -position_gradient(encoder, batch, create_graph=False)


def points_and_forces(
    encoder: Encoder, batch: dict[str, Any], *, create_graph: bool = False
) -> tuple[Tensor, Tensor]:
    """Return the embeddings of atoms and minus the gradient of their energy, from one run."""
    pos = batch["graph"].pos = batch["graph"].pos.detach().requires_grad_(True)
    points = encoder(batch).point_embedding
    total = readout(points) + 0.0 * pos.sum()
    (gradient,) = torch.autograd.grad(total, pos, create_graph=create_graph)
    return points.detach(), -gradient


def position_gradient(encoder: Encoder, batch: dict[str, Any], *, create_graph: bool) -> Tensor:
    """Return the gradient of the batch's energy with respect to its positions, [N, 3]."""
    graph = batch["graph"]
    graph.pos = graph.pos.detach().requires_grad_(True)
    # The zero keeps a gradient where the energy does not depend on positions at all.
    total = readout(encoder(batch).point_embedding) + 0.0 * graph.pos.sum()
    (gradient,) = torch.autograd.grad(total, graph.pos, create_graph=create_graph)
    return gradient
