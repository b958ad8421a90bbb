"""Small crystals, a brute-force neighbor search, and batches of crystals for encoders."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from mml_samples import Batch, optional_module
from torch import Tensor


@dataclass(frozen=True)
class Crystal:
    """A crystal of N atoms, periodic along all three lattice vectors, or a molecule if `cell` is None.

    Parameters
    ----------
    numbers
        Atomic numbers, [N] int64.
    pos
        Cartesian positions, [N, 3] float64, angstrom.
    cell
        Lattice vectors as rows, [3, 3] float64, angstrom. None for a molecule.
    """

    numbers: Tensor
    pos: Tensor
    cell: Tensor | None


def random_crystal(
    seed: int, num_atoms: int = 3, elements: Sequence[int] = (13, 29, 79), min_distance: float = 1.6
) -> Crystal:
    """Return a random triclinic crystal with about 35 cubic angstrom per atom.

    Atoms, including periodic images, are farther apart than `min_distance` (angstrom).
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    side = (35.0 * num_atoms) ** (1 / 3)
    cell = side * (torch.eye(3, dtype=torch.float64) + 0.3 * (uniform(3, 3) - 0.5))
    numbers = torch.tensor(elements)[torch.randint(len(elements), (num_atoms,), generator=generator)]
    while True:
        crystal = Crystal(numbers, uniform(num_atoms, 3) @ cell, cell)
        if neighbors(crystal, min_distance)[0].shape[1] == 0:
            return crystal


def supercell(crystal: Crystal, repeats: tuple[int, int, int]) -> Crystal:
    """Repeat a crystal along its lattice vectors. The atoms are ordered cell by cell."""
    if crystal.cell is None:
        raise ValueError("A molecule has no supercell. Pass a crystal with a cell.")
    steps = torch.cartesian_prod(*(torch.arange(n, dtype=torch.float64) for n in repeats)).reshape(-1, 3)
    pos = (crystal.pos + (steps @ crystal.cell).unsqueeze(1)).reshape(-1, 3)
    cell = crystal.cell * torch.tensor(repeats, dtype=torch.float64).unsqueeze(1)
    return Crystal(crystal.numbers.repeat(len(steps)), pos, cell)


def neighbors(crystal: Crystal, radius: float) -> tuple[Tensor, Tensor]:
    """Find all directed edges up to `radius` (angstrom) by testing all pairs of atoms in all relevant images.

    Returns
    -------
    tuple
        `edge_index` [2, E] int64, sorted by its first row, and `images` [E, 3], the lattice translations of
        the atoms in its second row.
    """
    images = torch.zeros(1, 3, dtype=torch.float64)
    offsets = images
    if crystal.cell is not None:
        inverse = torch.linalg.inv(crystal.cell)
        frac = crystal.pos @ inverse
        reach = radius * inverse.norm(dim=0) + (frac.max(dim=0).values - frac.min(dim=0).values)
        ranges = [torch.arange(-math.ceil(r), math.ceil(r) + 1, dtype=torch.float64) for r in reach]
        images = torch.cartesian_prod(*ranges)
        offsets = images @ crystal.cell
    vectors = crystal.pos[None, :, None] + offsets - crystal.pos[:, None, None]
    near = vectors.norm(dim=-1) <= radius
    near[:, :, (images == 0).all(dim=1)] &= ~torch.eye(len(crystal.pos), dtype=torch.bool).unsqueeze(-1)
    center, neighbor, image = near.nonzero(as_tuple=True)
    return torch.stack((center, neighbor)), images[image]


def crystal_batch(crystals: Sequence[Crystal], radius: float) -> Batch:
    """Batch crystals in the format of `mml_graphs.collate_samples`, with edges up to `radius` (angstrom).

    The stored `distances` are NaN, to expose encoders that use them instead of `pos` and `offsets`.
    """
    pyg = optional_module("torch_geometric.data", "mml-models", "mml_models.testing")
    samples = []
    for crystal in crystals:
        edge_index, images = neighbors(crystal, radius)
        sample = {
            "atomic_numbers": crystal.numbers,
            "pos": crystal.pos,
            "edge_index": edge_index,
            "images": images,
            "distances": torch.full((edge_index.shape[1],), math.nan, dtype=torch.float64),
            "natoms": torch.tensor([len(crystal.numbers)]),
            "num_nodes": len(crystal.numbers),
            "pbc": torch.full((1, 3), crystal.cell is not None),
            "offsets": images if crystal.cell is None else images @ crystal.cell,
        }
        if crystal.cell is not None:
            sample["cell"] = crystal.cell.unsqueeze(0)
        samples.append(sample)
    natoms = torch.tensor([len(crystal.numbers) for crystal in crystals])
    return {
        "graph": pyg.Batch.from_data_list([pyg.Data(**sample) for sample in samples]),
        "natoms": natoms,
        "cutoff_radius": torch.full((len(samples), 1), radius),
    }
