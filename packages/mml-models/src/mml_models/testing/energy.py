"""Energies and forces of any encoder for the checks, from a fixed random readout of its atom embeddings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from mml_samples import Batch
from torch import Tensor

from mml_models.testing.crystals import Crystal, crystal_batch


class EncoderOutput(Protocol):
    """Protocol of the output of an encoder."""

    @property
    def system_embedding(self) -> Tensor:
        """One vector per structure, [B, D]."""

    @property
    def point_embedding(self) -> Tensor:
        """One vector per atom, [N, D]."""


Encoder = Callable[[Batch], EncoderOutput]


def require(condition: bool, message: str) -> None:
    """Raise an AssertionError with `message` if `condition` is False."""
    if not condition:
        raise AssertionError(message)


def require_close(found: Tensor, expected: Tensor, message: str, tolerance: float = 1e-8) -> None:
    """Raise an AssertionError if two tensors have different shapes or differ by more than `tolerance`.

    The largest difference is divided by the largest absolute value of `expected`, or by 0.01 if that is
    smaller.
    """
    require(
        found.shape == expected.shape, f"{message}: shapes {[*found.shape]} and {[*expected.shape]} differ"
    )
    if not found.numel():
        return
    scale = max(0.01, float(expected.detach().abs().max()))
    error = float((found - expected).detach().abs().max()) / scale
    require(error <= tolerance, f"{message} differ by {error:.3g}, more than {tolerance:.3g}")


def readout(points: Tensor) -> Tensor:
    """Return the sum of a fixed random linear readout over all atoms: [N, D] -> scalar."""
    generator = torch.Generator().manual_seed(7)
    weights = torch.randn(points.shape[1], generator=generator, dtype=torch.float64).to(points)
    return (points @ weights).sum()


def embed(encoder: Encoder, crystals: Sequence[Crystal], radius: float) -> EncoderOutput:
    """Return the output of the encoder for a batch of crystals with edges up to `radius` (angstrom)."""
    return encoder(crystal_batch(crystals, radius))


def energy(encoder: Encoder, crystal: Crystal, radius: float) -> float:
    """Return the energy of a crystal with edges up to `radius` (angstrom)."""
    return float(readout(embed(encoder, [crystal], radius).point_embedding).detach())


def forces(encoder: Encoder, crystal: Crystal, radius: float) -> Tensor:
    """Return the forces [N, 3], the negative gradient of the energy with respect to positions."""
    batch = crystal_batch([crystal], radius)
    return -position_gradient(encoder, batch, create_graph=False)


def points_and_forces(encoder: Encoder, batch: Batch, *, create_graph: bool = False) -> tuple[Tensor, Tensor]:
    """Return the atom embeddings [N, D] and the forces [N, 3] of one forward pass."""
    pos = batch["graph"].pos = batch["graph"].pos.detach().requires_grad_(True)
    points = encoder(batch).point_embedding
    total = readout(points) + 0.0 * pos.sum()
    (gradient,) = torch.autograd.grad(total, pos, create_graph=create_graph)
    return points.detach(), -gradient


def position_gradient(encoder: Encoder, batch: Batch, *, create_graph: bool) -> Tensor:
    """Return the gradient [N, 3] of the energy of a batch with respect to its positions."""
    graph = batch["graph"]
    graph.pos = graph.pos.detach().requires_grad_(True)
    # Adding zero defines a gradient even if the energy does not depend on positions.
    total = readout(encoder(batch).point_embedding) + 0.0 * graph.pos.sum()
    (gradient,) = torch.autograd.grad(total, graph.pos, create_graph=create_graph)
    return gradient
