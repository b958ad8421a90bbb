"""Frames of a point cloud: the rotations that bring its principal axes to the coordinate axes.

Puny et al., "Frame Averaging for Invariant and Equivariant Network Design", ICLR 2022; for crystals Duval et
al., "FAENet: Frame Averaging Equivariant GNN for Materials Modeling", ICML 2023. Eigenvectors have no sign,
so a cloud has 8 frames (4 that are rotations), or 4 (2) about a kept z axis.

Where eigenvalues coincide, eigenvectors are any basis of their space, and no finite set of signs makes up for
that. There the atoms decide: directions to those farthest out within the space (or lattice vectors, where
all atoms lie in its origin) are candidates for axes, and of these the one is taken whose rotated cloud comes
first in an order that depends neither on orientation nor on the numbering of atoms. Candidates that tie are
related by a symmetry of the structure.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Eigenvalues that differ by less than this part of the largest are taken for one: the noise of float32
# coordinates turns their eigenvectors by 1e-7 / 1e-3 at most.
SAME_EIGENVALUE = 1e-3
# How much nearer than the farthest an atom may be, in parts, and still be a candidate; and how far from the
# origin of the space, in parts of the size of the cloud.
SAME_SHELL = 1e-3
# Clouds are summarised by sums of sines of these (arbitrary, incommensurate) phases; closer sums are a tie.
WAVES = np.array([[1.13, 2.71, 0.41], [0.57, 1.93, 3.31], [2.23, 0.83, 1.49], [3.07, 1.27, 2.03]])
SAME_SUM = 1e-5


class Frames(NamedTuple):
    """The frames of a cloud.

    Attributes
    ----------
    center
        [3], angstrom; z is 0 where the z axis is kept.
    every
        [F, 3, 3]; ``(pos - center) @ every[f]`` is the cloud in frame f.
    tied
        [K, 3, 3], all frames that nothing tells apart; equal to ``every`` where no eigenvalues coincide.
    first
        [3, 3], the frame that comes first.
    degenerate
        Whether eigenvalues coincide.
    """

    center: Floats
    every: Floats
    tied: Floats
    first: Floats
    degenerate: bool


def find_frames(
    pos: Floats, numbers: NDArray[np.int64], cell: Floats | None, keep_z: bool, proper: bool
) -> Frames:
    """Find the frames of a cloud.

    Parameters
    ----------
    pos
        [N, 3], angstrom.
    numbers
        [N], atomic numbers; they only tell atoms apart.
    cell
        [3, 3], rows are the lattice vectors, angstrom, or None.
    keep_z
        Look for axes in the x-y plane only.
    proper
        Only frames with determinant +1 (rotations); else reflections too.

    Returns
    -------
    Frames
        In a fixed order of signs.
    """
    lattice = np.zeros((3, 3)) if cell is None else cell
    center = pos.mean(axis=0)
    centered = pos - center
    space = np.eye(3)[:, : 2 if keep_z else 3]
    values, vectors = np.linalg.eigh(space.T @ centered.T @ centered @ space / len(pos))
    values, vectors = values[::-1], space @ vectors[:, ::-1]

    groups: list[list[int]] = [[0]]
    for column in range(1, len(values)):
        if values[column - 1] - values[column] > SAME_EIGENVALUE * values[0]:
            groups.append([])
        groups[-1].append(column)
    choices = [_bases(vectors[:, group], centered, lattice) for group in groups]
    bases = np.array([np.concatenate(parts, axis=1) for parts in itertools.product(*choices)])
    if keep_z:
        upright = np.broadcast_to(np.eye(3)[:, 2:], (len(bases), 3, 1))
        bases = np.concatenate([bases, upright], axis=2)

    signs = np.array(list(itertools.product(*[(1.0, -1.0)] * len(values), *[(1.0,)] * (3 - len(values)))))
    candidates = bases[:, None] * signs[None, :, None, :]  # [bases, signs, 3, 3]
    if proper:
        rotations = np.linalg.det(candidates) > 0  # half of the signs for each basis
        candidates = candidates[rotations].reshape(len(bases), -1, 3, 3)
    flat = candidates.reshape(-1, 3, 3)
    best = _first(flat, centered, numbers, lattice)
    chosen = np.unique(best // candidates.shape[1])
    return Frames(
        center=center * [1, 1, 0] if keep_z else center,
        every=candidates[chosen[0]],
        tied=candidates[chosen].reshape(-1, 3, 3),
        first=flat[best[0]],
        degenerate=len(groups) < len(values),
    )


def _bases(space: Floats, centered: Floats, lattice: Floats) -> list[Floats]:
    """Return orthonormal bases of a space [3, d] whose axes atoms point out, up to signs."""
    dimension = space.shape[1]
    if dimension == 1:
        return [space]
    size = max(np.linalg.norm(centered, axis=1).max(), np.linalg.norm(lattice, axis=1).max())
    for vectors in (centered @ space, lattice @ space):
        lengths = np.linalg.norm(vectors, axis=1)
        if lengths.max() > SAME_SHELL * size:
            break
    else:
        return [space]
    found = []
    for vector in vectors[lengths >= (1 - SAME_SHELL) * lengths.max()]:
        # The first column of Q is along the vector, the others span its complement.
        q = np.linalg.qr(np.column_stack([vector, np.eye(dimension)]))[0]
        axis, rest = space @ q[:, :1], space @ q[:, 1:]
        found += [np.concatenate([axis, other], axis=1) for other in _bases(rest, centered, lattice)]
    return found


def _first(
    frames: Floats, centered: Floats, numbers: NDArray[np.int64], lattice: Floats
) -> NDArray[np.int64]:
    """Return which of the frames [K, 3, 3] come first, in an order that atoms' numbering has no part in."""
    points = np.concatenate([centered, lattice])
    points = points / max(np.linalg.norm(points, axis=1).max(), 1e-12)
    labels = np.concatenate([numbers * 0.7548776662, [-1.3, -2.9, -4.7]])
    left = np.arange(len(frames))
    for wave in WAVES:
        if len(left) == 1:
            break
        directions = frames[left] @ (2 * wave)
        parts = np.array_split(
            directions, 1 + directions.shape[0] * len(points) // 10**6
        )  # bounds the memory
        sums = np.concatenate([np.sin(points @ part.T + labels[:, None]).sum(axis=0) for part in parts])
        left = left[sums >= sums.max() - SAME_SUM * len(points)]
    return left
