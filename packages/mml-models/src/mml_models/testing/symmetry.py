"""Checks that embeddings and forces do not depend on the description of a crystal."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from mml_models.testing.crystals import Crystal, supercell
from mml_models.testing.energy import Encoder, embed, forces, require, require_close


def check_rotation(encoder: Encoder, crystal: Crystal, cutoff: float, seed: int) -> None:
    """Check that embeddings are invariant under a rotation of the crystal, and that forces rotate with it."""
    _check_orthogonal(encoder, crystal, cutoff, _rotation(seed), "rotation")


def check_reflection(encoder: Encoder, crystal: Crystal, cutoff: float, seed: int) -> None:
    """Check that embeddings are invariant under a reflection, and that forces are reflected."""
    _check_orthogonal(encoder, crystal, cutoff, -_rotation(seed), "reflection")


def check_vectors(encoder: Encoder, crystal: Crystal, cutoff: float, seed: int) -> None:
    """Check that the `point_vectors` [N, 3, ...] of the output, if it has any, rotate with the crystal."""
    before = getattr(embed(encoder, [crystal], cutoff), "point_vectors", None)
    if before is None:
        return
    shape = [len(crystal.numbers), 3]
    require(
        [*before.shape[:2]] == shape,
        f"point_vectors has shape {[*before.shape]}, expected {shape} as its first dimensions",
    )
    matrix = _rotation(seed)
    after = getattr(embed(encoder, [_moved(crystal, matrix)], cutoff), "point_vectors", None)
    if after is None:
        raise AssertionError("The rotated crystal has no point_vectors")
    expected = torch.einsum("nx...,xy->ny...", before, matrix)
    require_close(after, expected, "point_vectors after rotation")


def check_translation(encoder: Encoder, crystal: Crystal, cutoff: float, seed: int) -> None:
    """Check that embeddings are invariant if all atoms are shifted by the same vector."""
    shift = 3.0 * torch.randn(3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    _check_same_points(encoder, crystal, replace(crystal, pos=crystal.pos + shift), cutoff, "translation")


def check_permutation(encoder: Encoder, crystal: Crystal, cutoff: float, seed: int) -> None:
    """Check that a permutation of the atoms permutes their embeddings and keeps the system embedding."""
    order = torch.randperm(len(crystal.numbers), generator=torch.Generator().manual_seed(seed))
    if bool((order == torch.arange(len(order))).all()):
        order = order.roll(1)
    before = embed(encoder, [crystal], cutoff)
    after = embed(encoder, [Crystal(crystal.numbers[order], crystal.pos[order], crystal.cell)], cutoff)
    require_close(after.point_embedding, before.point_embedding[order], "Point embeddings after permutation")
    require_close(after.system_embedding, before.system_embedding, "System embedding after permutation")


def check_cell_choice(encoder: Encoder, crystal: Crystal, cutoff: float, seed: int) -> None:
    """Check that embeddings do not depend on the choice of lattice vectors or of the images of atoms."""
    if crystal.cell is None:
        return
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(-2, 3, crystal.pos.shape, generator=generator).double()
    images[0, 0] += 1.0 - images[0, 0].abs().clamp(max=1.0)  # at least one atom moves
    wrapped = replace(crystal, pos=crystal.pos + images @ crystal.cell)
    _check_same_points(encoder, crystal, wrapped, cutoff, "moving atoms by lattice vectors")
    steps = 1.0 - 2.0 * torch.randint(2, (3,), generator=generator).double()
    lower, upper = torch.eye(3, dtype=torch.float64), torch.eye(3, dtype=torch.float64)
    lower[1, 0], lower[2, 1], upper[0, 2] = steps
    sheared = replace(crystal, cell=upper @ lower @ crystal.cell)
    _check_same_points(encoder, crystal, sheared, cutoff, "choosing other lattice vectors")


def check_supercell(encoder: Encoder, crystal: Crystal, cutoff: float, seed: int) -> None:
    """Check that atom embeddings are the same in a supercell.

    The system embedding must be unchanged (mean) or scale with the number of cells (sum).
    """
    if crystal.cell is None:
        return
    repeats = ((2, 1, 1), (1, 2, 1), (1, 1, 3))[seed % 3]
    copies = repeats[0] * repeats[1] * repeats[2]
    small, large = (embed(encoder, [c], cutoff) for c in (crystal, supercell(crystal, repeats)))
    expected = small.point_embedding.repeat(copies, 1)
    require_close(large.point_embedding, expected, "Point embeddings of a supercell and of its cell")
    one, many = small.system_embedding.detach(), large.system_embedding.detach()
    errors = [float((many - factor * one).abs().max()) for factor in (1, copies)]
    require(
        min(errors) <= 1e-8 * (1.0 + float(many.abs().max())),
        f"The system embedding of {copies} cells is neither 1 nor {copies} times that of a cell",
    )


def _rotation(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    q, r = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    q = q * r.diagonal().sign()
    return q * q.det()


def _moved(crystal: Crystal, matrix: Tensor) -> Crystal:
    cell = None if crystal.cell is None else crystal.cell @ matrix
    return Crystal(crystal.numbers, crystal.pos @ matrix, cell)


def _check_orthogonal(encoder: Encoder, crystal: Crystal, cutoff: float, matrix: Tensor, name: str) -> None:
    turned = _moved(crystal, matrix)
    _check_same_points(encoder, crystal, turned, cutoff, name)
    expected = forces(encoder, crystal, cutoff) @ matrix
    require_close(forces(encoder, turned, cutoff), expected, f"Forces after {name}")


def _check_same_points(encoder: Encoder, before: Crystal, after: Crystal, cutoff: float, name: str) -> None:
    expected, found = (embed(encoder, [crystal], cutoff) for crystal in (before, after))
    require_close(found.point_embedding, expected.point_embedding, f"Point embeddings after {name}")
    require_close(found.system_embedding, expected.system_embedding, f"System embedding after {name}")
