"""Neighbours of many small structures at once, by enumerating the lattice points in a sphere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mml_graphs.lattice import Cell
from mml_graphs.neighbors import COINCIDENT, MARGIN, Edges

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class GroupEdges(NamedTuple):
    """Edges of several structures, one after the other.

    Attributes
    ----------
    edges
        Sorted by source; atoms are counted through all structures.
    offsets, unit_offsets
        [E, 3]: ``images @ cell``, angstrom, and the edges in fractional coordinates.
    counts
        [B], edges of each structure.
    settled
        [B], False where these are not the edges: an atom has none, two atoms are in one place, or a pair is
        so near to the cutoff that its exact length has to decide. Search such a structure by itself.
    """

    edges: Edges
    offsets: Floats
    unit_offsets: Floats
    counts: Ints
    settled: NDArray[np.bool_]


def group_edges(positions: Sequence[Floats], cells: Sequence[Cell], cutoff: float) -> GroupEdges:
    r"""Find the edges of several structures in vectorised operations over all of them.

    For each pair of atoms of a structure, the images within the cutoff are the lattice points in a sphere.
    With the cell :math:`M = L Q`, where :math:`L` is lower triangular and :math:`Q` a rotation, an edge with
    fractional coordinates :math:`t` has the squared length :math:`|t L|^2`, of which the third component
    depends on :math:`t_3` alone, the second on :math:`t_3` and :math:`t_2`. So the third index of the image
    has a range, each value of it gives a range for the second, and each pair of values one for the first,
    whose ends are on the sphere: nothing is enumerated that is not an edge, however skewed the cell is
    (Fincke and Pohst, Math. Comput. 44, 463 (1985)).

    Parameters
    ----------
    positions
        [N, 3] of each structure, angstrom. Time and memory go with the squared number of atoms.
    cells
        The cell of each structure.
    cutoff
        Largest distance, angstrom, inclusive.

    Returns
    -------
    GroupEdges
        Of each settled structure, what `mml_graphs.neighbors.search` finds.
    """
    n_atoms = np.array([len(one) for one in positions])
    ends = n_atoms.cumsum()
    owner = np.arange(len(cells)).repeat(n_atoms)
    joined = np.concatenate(positions)
    fractions = np.einsum("ni,nij->jn", joined, np.array([cell.inverse for cell in cells])[owner])

    # All pairs of atoms of a structure, an atom with itself among them.
    partners = n_atoms[owner]
    src, local = _spread(partners)
    dst = local + (ends - n_atoms)[owner][src]
    x, y, z = fractions.take(dst, axis=1) - fractions.take(src, axis=1)
    lower = _lower_triangles(np.array([cell.matrix for cell in cells]))[:, owner[src]]
    pbc = np.array([cell.pbc for cell in cells])
    free = None if pbc.all() else pbc.T[:, owner[src]]  # where an image other than zero is allowed

    radius = cutoff + MARGIN
    xx, yx, yy, zx, zy, zz = lower
    k, row = _within(-z, radius / zz, None if free is None else free[2])
    t3 = k + z[row]
    left = np.maximum(radius * radius - np.square(t3 * zz[row]), 0.0)

    yy_row = yy[row]
    shift = t3 * zy[row]
    j, up = _within(-y[row] - shift / yy_row, np.sqrt(left) / yy_row, None if free is None else free[1][row])
    pair = row[up]
    t3, k = t3[up], k[up]
    t2 = j + y[pair]
    left = np.maximum(left[up] - np.square(t2 * yy[pair] + shift[up]), 0.0)

    xx_pair = xx[pair]
    shift = t2 * yx[pair] + t3 * zx[pair]
    i, up = _within(
        -x[pair] - shift / xx_pair, np.sqrt(left) / xx_pair, None if free is None else free[0][pair]
    )
    pair = pair[up]
    t1 = i + x[pair]
    squares = np.square(t1 * xx[pair] + shift[up]) + (radius * radius - left[up])

    keep = squares > COINCIDENT * COINCIDENT
    undecided = squares > (cutoff - MARGIN) ** 2
    settled = np.ones(len(cells), dtype=np.bool_)
    n_loops = len(keep) - np.count_nonzero(keep)
    if np.count_nonzero(undecided) or n_loops != len(joined):
        structure = owner[src[pair]]
        settled[structure[undecided]] = False
        settled &= np.bincount(structure[~keep], minlength=len(cells)) == n_atoms
    index = keep.nonzero()[0]
    pair, up = pair[index], up[index]
    src, dst = src[pair], dst[pair]
    images, unit_offsets = np.empty((len(index), 3)), np.empty((len(index), 3))
    for axis, (image, coordinate) in enumerate(((i[index], t1[index]), (j[up], t2[up]), (k[up], t3[up]))):
        images[:, axis] = image
        unit_offsets[:, axis] = coordinate

    degrees = np.bincount(src, minlength=len(joined))
    if not degrees.all():
        settled[owner[degrees == 0]] = False
    counts = np.add.reduceat(degrees, ends - n_atoms)
    offsets = np.empty_like(images)
    start = 0
    for cell, end in zip(cells, counts.cumsum().tolist(), strict=True):
        np.matmul(images[start:end], cell.matrix, out=offsets[start:end])
        start = end
    edges = Edges(src, dst, images, np.sqrt(squares[index]))
    return GroupEdges(edges, offsets, unit_offsets, counts, settled)


def _spread(counts: Ints) -> tuple[Ints, Ints]:
    """Return for counts (2, 0, 3) the rows (0, 0, 2, 2, 2) and the places in a row (0, 1, 0, 1, 2)."""
    row = np.arange(len(counts)).repeat(counts)
    return row, np.arange(len(row)) - (counts.cumsum() - counts)[row]


def _within(center: Floats, half: Floats, free: NDArray[np.bool_] | None) -> tuple[Floats, Ints]:
    """Enumerate the integers within ``half`` of each center, with their rows; only zero where not free."""
    first, last = np.ceil(center - half), np.floor(center + half)
    if free is not None:
        first, last = np.where(free, first, np.maximum(first, 0)), np.where(free, last, np.minimum(last, 0))
    row, place = _spread(np.maximum(last - first + 1.0, 0.0).astype(np.int64))
    return first[row] + place, row


def _lower_triangles(cells: Floats) -> Floats:
    """Return the lower triangles xx, yx, yy, zx, zy, zz [6, B] that cells [B, 3, 3] have when rotated.

    By Gram and Schmidt, each time from what is left of the vector, which keeps the error small.
    """
    a, b, c = cells[:, 0], cells[:, 1], cells[:, 2]
    xx = np.sqrt(np.einsum("bi,bi->b", a, a))
    a = a / xx[:, None]
    yx = np.einsum("bi,bi->b", a, b)
    b = b - yx[:, None] * a
    yy = np.sqrt(np.einsum("bi,bi->b", b, b))
    b = b / yy[:, None]
    zx = np.einsum("bi,bi->b", a, c)
    c = c - zx[:, None] * a
    zy = np.einsum("bi,bi->b", b, c)
    c = c - zy[:, None] * b
    zz = np.sqrt(np.einsum("bi,bi->b", c, c))
    return np.array([xx, yx, yy, zx, zy, zz])
