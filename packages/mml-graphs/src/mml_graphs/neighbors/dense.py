"""Neighbor search by one matrix product of all atoms and all images that may be near enough."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

from mml_graphs.neighbors.lattice import Cell

# Largest number of entries in a block of rows of the squared distance matrix (8 MB).
BLOCK = 1_000_000

# Squared distances are computed as |x|^2 + |y|^2 - 2 x.y, with an error of about 1e-15 times the largest
# |y|^2. If that |y|^2 exceeds this limit (angstrom^2), they only select the pairs, and the distances of these
# pairs are computed again.
PRECISE = 1e4

# Atoms may lie this far outside the cell (see `find_edges.wrap`), in fractional coordinates.
SLACK = 1e-5

# From 24 to 400 atoms of a common density, at 4 to 8 angstrom, this search is faster than pymatgen's
# (measured on one core, benchmarks/graphs.py).
DENSE_FROM, DENSE_TO = 10_000, 500_000  # distances
DENSE_ATOMS = 16

Neighbors = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]


def dense_neighbors(positions: NDArray[np.float64], cell: Cell, radius: float) -> Neighbors:
    """Find the pairs within a radius.

    The time is proportional to the number of atoms times the number of images within reach of the cell, in
    vectorized operations. From about 20 to a few hundred atoms, this is faster than a compiled search.

    Parameters
    ----------
    positions
        [N, 3], wrapped into the cell, angstrom.
    cell
        Completed cell.
    radius
        Search radius, angstrom.

    Returns
    -------
    src, dst, images, distances
        [E], [E], [E, 3] and [E], sorted by ``src``. Due to rounding, a pair may be included that is slightly
        farther apart than the radius. No atom is paired with itself in the same image.
    """
    num_atoms = len(positions)
    image, atom, home = _images_within_reach(positions, cell, radius)
    ghosts = positions.take(atom, axis=0)
    ghosts += image @ cell.matrix
    num_ghosts = len(ghosts)

    # Row i of `left` times column j of `right` is |x_i - y_j|^2.
    left = np.empty((num_atoms, 5))
    left[:, :3] = positions
    left[:, 3] = np.einsum("ij,ij->i", positions, positions)
    left[:, 4] = 1.0
    right = np.empty((5, num_ghosts))
    np.multiply(ghosts.T, -2.0, out=right[:3])
    right[3] = 1.0
    np.einsum("ij,ij->i", ghosts, ghosts, out=right[4])
    largest = float(right[4].max())
    limit = radius * radius + 1e-14 * largest

    found = []
    rows = max(1, BLOCK // num_ghosts)
    for start in range(0, num_atoms, rows):
        squares = (left[start : start + rows] @ right).ravel()
        squares[home + start :: num_ghosts + 1][:rows] = math.inf  # an atom and itself
        near = (squares <= limit).nonzero()[0]
        found.append((near + start * num_ghosts, squares.take(near)))
    pairs, squares = found[0] if len(found) == 1 else map(np.concatenate, zip(*found, strict=True))
    src, ghost = np.divmod(pairs, num_ghosts)
    if largest > PRECISE:
        squares = np.square(ghosts.take(ghost, axis=0) - positions.take(src, axis=0)).sum(axis=1)
    return src, atom.take(ghost), image.take(ghost, axis=0), np.sqrt(np.maximum(squares, 0.0))


def _images_within_reach(
    positions: NDArray[np.float64], cell: Cell, radius: float
) -> tuple[NDArray[np.float64], NDArray[np.int64], int]:
    """Return the images [M, 3] and atoms [M] within reach of the cell, and the start index of image zero.

    An image of an atom is out of reach if it is farther from the face of the cell than the radius, along any
    periodic lattice vector. In image zero, all atoms are within reach and listed in order.
    """
    num_atoms = len(positions)
    reach = np.array(_reach(cell, radius))
    fractions = (positions @ cell.inverse).T
    if not all(cell.pbc):
        fixed = [axis for axis in range(3) if not cell.pbc[axis]]
        reach[fixed] = 0.0
        fractions[fixed] = 0.5  # so that only image zero is within reach
    size = math.floor(float(reach.max()) + SLACK) + 1
    distance = np.arange(-0.5 - size, size)[:, None] + fractions[:, None, :]  # from the middle of the cell
    x, y, z = np.abs(distance, out=distance) <= (reach + (0.5 + SLACK))[:, None, None]
    rows = (x[:, None, None] & y[:, None] & z).ravel().nonzero()[0]
    grid = _grid(size)
    image, atom = np.divmod(rows, num_atoms)
    home: np.int64 = rows.searchsorted(len(grid) // 2 * num_atoms)
    return grid[image], atom, int(home)


def _reach(cell: Cell, radius: float) -> tuple[float, float, float]:
    """Return the radius in fractional coordinates along each lattice vector.

    The distance between planes of constant fractional coordinate is 1 / |column of the inverse|.
    """
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = cell.inverse.tolist()
    return radius * math.hypot(ax, bx, cx), radius * math.hypot(ay, by, cy), radius * math.hypot(az, bz, cz)


def count_candidates(num_atoms: int, cell: Cell, radius: float) -> float:
    """Estimate the number of distances that `dense_neighbors` computes: atoms times images within reach."""
    images = 1.0
    for bound, periodic in zip(_reach(cell, radius), cell.pbc, strict=True):
        images *= 1.0 + 2.0 * bound if periodic else 1.0
    return num_atoms * num_atoms * images


@cache
def _grid(size: int) -> NDArray[np.float64]:
    """Return the images from (-size, -size, -size) to (size, size, size), [(2 size + 1)^3, 3]."""
    axes = np.meshgrid(*[np.arange(-size, size + 1.0)] * 3, indexing="ij")
    return np.stack(axes, axis=-1).reshape(-1, 3)


def is_dense(num_atoms: int, num_candidates: float) -> bool:
    """Return whether computing all distances at once is the fastest search for this number of candidates."""
    return num_atoms >= DENSE_ATOMS and DENSE_FROM <= num_candidates <= DENSE_TO
