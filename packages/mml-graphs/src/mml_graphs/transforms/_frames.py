"""Find the frames of a point cloud: the rotations that align its principal axes with the coordinate axes.

The method is that of Puny et al., "Frame Averaging for Invariant and Equivariant Network Design", ICLR 2022,
and, for crystals, Duval et al., "FAENet: Frame Averaging Equivariant GNN for Materials Modeling", ICML 2023.
The sign of an eigenvector is arbitrary. A cloud therefore has 8 frames, of which 4 are rotations. If the z
axis is kept, it has 4 frames, of which 2 are rotations.

If eigenvalues coincide, the eigenvectors may be any basis of their space, and no finite set of signs covers
all of them. In this case, the atoms decide. Candidates for axes are the directions to the atoms farthest out
within the space (or the lattice vectors, if all atoms lie at the origin of the space). The chosen candidate
is the one whose rotated cloud comes first in an order that depends neither on the orientation nor on the
numbering of the atoms. Tied candidates are related by a symmetry of the structure.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Eigenvalues that differ by less than this fraction of the largest one count as equal. The noise of float32
# coordinates turns the eigenvectors of distinct eigenvalues by at most 1e-7 / 1e-3.
SAME_EIGENVALUE = 1e-3
# Relative tolerance, used twice. An atom that is nearer than the farthest atom by at most this fraction is
# a candidate, and atoms within this fraction of the size of the cloud lie at the origin of the space.
SAME_SHELL = 1e-3
# Clouds are summarized by sums of sines of these (arbitrary, incommensurate) phases. Closer sums are tied.
WAVES = np.array([[1.13, 2.71, 0.41], [0.57, 1.93, 3.31], [2.23, 0.83, 1.49], [3.07, 1.27, 2.03]])
SAME_SUM = 1e-5


class Frames(NamedTuple):
    """The frames of a cloud.

    Attributes
    ----------
    center
        [3], angstrom. z is 0 if the z axis is kept.
    every
        [F, 3, 3]. ``(pos - center) @ every[f]`` is the cloud in frame f.
    tied
        [K, 3, 3], all frames that cannot be distinguished. Equal to ``every`` if no eigenvalues coincide.
    first
        [3, 3], the frame that comes first in the order.
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
        [N], atomic numbers, which are used only to distinguish atoms.
    cell
        [3, 3], rows are the lattice vectors, angstrom, or ``None``.
    keep_z
        If ``True``, search axes only in the x-y plane.
    proper
        If ``True``, return only frames with determinant +1 (rotations). Otherwise, include reflections.

    Returns
    -------
    Frames
        Frames with their signs in a fixed order.
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
    """Return orthonormal bases, up to signs, of a space [3, d], with axes that point to atoms."""
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
        # The first column of Q is parallel to the vector. The other columns span its complement.
        q = np.linalg.qr(np.column_stack([vector, np.eye(dimension)]))[0]
        axis, rest = space @ q[:, :1], space @ q[:, 1:]
        found += [np.concatenate([axis, other], axis=1) for other in _bases(rest, centered, lattice)]
    return found


def _first(
    frames: Floats, centered: Floats, numbers: NDArray[np.int64], lattice: Floats
) -> NDArray[np.int64]:
    """Return the indices of the frames [K, 3, 3] that come first in the order of frames.

    The order does not depend on the numbering of the atoms.
    """
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
        )  # limits the memory
        sums = np.concatenate([np.sin(points @ part.T + labels[:, None]).sum(axis=0) for part in parts])
        left = left[sums >= sums.max() - SAME_SUM * len(points)]
    return left
