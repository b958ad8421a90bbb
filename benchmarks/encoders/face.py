"""The batch of all encoders, and their training step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

CUTOFF = 5.0  # angstrom
WIDTH = 64
LAYERS = 3
RADIAL = 20

Energies = Callable[[Tensor], Tensor]
"""Maps positions [N, 3] to energies [B]."""


@dataclass(frozen=True)
class Batch:
    """B structures with N atoms and E directed edges.

    Attributes
    ----------
    numbers
        [N] int64.
    positions, force
        [N, 3] float32.
    edges
        [2, E] int64: center and neighbor, sorted by center.
    offsets
        [E, 3] float32, added to the position of the neighbor.
    structure
        [N] int64.
    energy
        [B] float32.
    """

    numbers: Tensor
    positions: Tensor
    force: Tensor
    edges: Tensor
    offsets: Tensor
    structure: Tensor
    energy: Tensor

    def save(self, path: Path) -> None:
        """Write the arrays to a `.npz` file."""
        np.savez(path, **{name: value.numpy() for name, value in vars(self).items()})

    @classmethod
    def load(cls, path: Path) -> Batch:
        """Read a file written by `save`."""
        with np.load(path) as arrays:
            return cls(**{name: torch.from_numpy(arrays[name]) for name in arrays})


@dataclass(frozen=True)
class Contender:
    """An encoder with a head that returns energies."""

    module: nn.Module
    energies: Energies


def training_step(contender: Contender, batch: Batch) -> Callable[[], float]:
    """Return a function that takes one AdamW step on energies and forces, and returns the loss."""
    optimizer = torch.optim.AdamW(contender.module.parameters(), lr=1e-4)

    def step() -> float:
        positions = batch.positions.clone().requires_grad_(True)
        optimizer.zero_grad()
        energy = contender.energies(positions)
        (gradient,) = torch.autograd.grad(energy.sum(), positions, create_graph=True)
        loss = (energy - batch.energy).square().mean() + (gradient + batch.force).square().mean()
        loss.backward()
        optimizer.step()
        return float(loss)

    return step
