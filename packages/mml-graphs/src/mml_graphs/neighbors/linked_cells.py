"""Neighbor search in NumPy, for machines without the search in C: linked cells, in vectorized operations."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mml_graphs.neighbors.lattice import Cell

# Number of pairs that are examined at once. Their arrays take about 30 MB.
PAIRS = 500_000

# Distances in units of the cell are compared with this tolerance.
SLACK = 1e-5

# Largest number of bins. Indices of bins, and sums of a few of them, are exact in int64.
MOST_BINS = 2.0**60

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def binned_neighbors(positions: Floats, cell: Cell, radius: float) -> tuple[Ints, Ints, Floats, Floats]:
    """Find the pairs within a radius.

    All images of atoms within reach of the cell are sorted into cubes as wide as the radius. The neighbors of
    an atom are in 9 columns of 3 cubes each (Quentrec and Brot, J. Comput. Phys. 13, 430 (1973)). The time is
    proportional to the number of atoms.

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
        [E], [E], [E, 3] and [E], sorted by ``src``. No atom is paired with itself in the same image.
    """
    atom, images = images_within_reach(positions, cell, radius)
    ghosts = positions.take(atom, axis=0) + images @ cell.matrix
    is_home: NDArray[np.bool_] = np.abs(images).sum(axis=1) == 0.0

    # Cube (a, b, c) has the index (a * sides[1] + b) * sides[2] + c. There are empty cubes around all others.
    lowest = ghosts.min(axis=0) - radius
    extent = ghosts.max(axis=0) - lowest
    width = max(radius, float(extent.max()) / 2**19)
    while math.prod((extent / width + 3).tolist()) > MOST_BINS:
        width *= 2.0
    sides = np.floor(extent / width).astype(np.int64) + 3
    strides = np.array([sides[1] * sides[2], sides[2], 1])
    cubes = (np.floor((ghosts - lowest) / width).astype(np.int64) + 1) @ strides
    order = cubes.argsort(kind="stable")
    cubes, ghosts, atom, images = cubes[order], ghosts[order], atom[order], images[order]
    is_home = is_home[order]

    home = (np.floor((positions - lowest) / width).astype(np.int64) + 1) @ strides
    columns = np.array([a * strides[0] + b * strides[1] for a in (-1, 0, 1) for b in (-1, 0, 1)])
    middle = home[:, None] + columns
    firsts = cubes.searchsorted(middle - 1, side="left")
    counts = cubes.searchsorted(middle + 1, side="right") - firsts

    found = []
    ends = counts.sum(axis=1).cumsum()
    start = 0
    while start < len(positions):
        before = int(ends[start - 1]) if start else 0
        end = max(start + 1, int(ends.searchsorted(before + PAIRS, side="right")))
        some = counts[start:end].ravel()
        ghost = np.arange(some.sum()) + (firsts[start:end].ravel() - some.cumsum() + some).repeat(some)
        src = np.arange(start, end).repeat(counts[start:end].sum(axis=1))
        vectors = ghosts.take(ghost, axis=0)
        vectors -= positions.take(src, axis=0)
        squares = np.einsum("ij,ij->i", vectors, vectors)
        near = squares <= radius * radius
        near &= (atom.take(ghost) != src) | ~is_home.take(ghost)
        index = near.nonzero()[0]
        found.append((src.take(index), ghost.take(index), np.sqrt(squares.take(index))))
        start = end
    src, ghost, distances = (np.concatenate(column) for column in zip(*found, strict=True))
    return src, atom.take(ghost), images.take(ghost, axis=0), distances


def images_within_reach(positions: Floats, cell: Cell, radius: float) -> tuple[Ints, Floats]:
    """Find the images of atoms that may be within a radius of an atom in the cell.

    Parameters
    ----------
    positions
        [N, 3], wrapped into the cell, angstrom.
    cell
        Completed cell.
    radius
        Radius, angstrom.

    Returns
    -------
    atom, images
        [M] and [M, 3]: atoms and lattice translations. Along each periodic lattice vector, an image is no
        farther from the outermost atoms than the radius.
    """
    fractions = positions @ cell.inverse
    # The distance between planes of constant fractional coordinate is 1 / |column of the inverse|.
    reach = radius * np.sqrt(np.square(cell.inverse).sum(axis=0)) + SLACK
    first = np.ceil(fractions.min(axis=0) - reach - fractions)
    last = np.floor(fractions.max(axis=0) + reach - fractions)
    fixed = ~np.array(cell.pbc)
    first[:, fixed] = last[:, fixed] = 0.0
    counts = (last - first + 1.0).astype(np.int64)
    atom: Ints = np.arange(len(positions))
    columns: list[Floats] = []
    for axis in range(3):
        count = counts[atom, axis]
        row = np.arange(len(atom)).repeat(count)
        within_row = np.arange(len(row)) - (count.cumsum() - count).repeat(count)
        columns = [column[row] for column in columns]
        atom = atom[row]
        columns.append(first[atom, axis] + within_row)
    return atom, np.stack(columns, axis=1)
