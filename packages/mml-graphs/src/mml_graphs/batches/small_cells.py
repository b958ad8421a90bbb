"""Find the neighbors of many small structures at once, by enumerating the lattice points in a sphere."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mml_graphs.batches.structures import GroupEdges, Structures
from mml_graphs.neighbors.edges import COINCIDENT, MARGIN
from mml_graphs.sample_tensors import Arrays

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def group_edges(structures: Structures, cutoff: float) -> GroupEdges:
    r"""Find the edges of several structures, in operations that are vectorized over all of them.

    For each pair of atoms of a structure, the images within the cutoff are the lattice points in a sphere.
    The cell is factorized as :math:`M = L Q`, where :math:`L` is lower triangular and :math:`Q` is a
    rotation. An edge with fractional coordinates :math:`t` then has the squared length :math:`|t L|^2`, whose
    third component depends only on :math:`t_3`, and whose second component depends only on :math:`t_3` and
    :math:`t_2`. The third index of the image therefore has a range. Each of its values gives a range for the
    second index, and each pair of values gives a range for the first index, with both ends on the sphere. All
    enumerated images are edges, however skewed the cell is (Fincke and Pohst, Math. Comput. 44, 463 (1985)).

    Parameters
    ----------
    structures
        B structures with N atoms in total. Time and memory are proportional to the squared number of atoms of
        each structure.
    cutoff
        Largest distance, angstrom, inclusive.

    Returns
    -------
    GroupEdges
        For each settled structure, the same edges as from `mml_graphs.neighbors.find_edges.search`.
    """
    positions, num_structures = structures.positions, len(structures.cells)
    starts = np.array(structures.starts[:-1])
    num_atoms = np.array(structures.counts)
    owner = np.arange(num_structures).repeat(num_atoms)
    fractions = np.einsum("ni,nij->jn", positions, structures.inverses[owner])

    # All pairs of atoms of a structure, including each atom with itself.
    partners = num_atoms.take(owner)
    src = np.arange(len(owner)).repeat(partners)
    dst = np.arange(len(src)) + (starts.take(owner) - partners.cumsum() + partners).repeat(partners)
    x, y, z = fractions.take(dst, axis=1) - fractions.take(src, axis=1)
    structure = owner.take(src)
    xx, yx, yy, zx, zy, zz = (part.take(structure) for part in _lower_triangles(structures.matrices))
    free_x = free_y = free_z = None  # True if images other than zero are allowed
    if not structures.pbc.all():
        free_x, free_y, free_z = (flags.take(structure) for flags in structures.pbc.T)

    radius = cutoff + MARGIN
    k, row = within(-z, radius / zz, free_z)
    t3 = k + z.take(row)
    left = np.maximum(radius * radius - np.square(t3 * zz.take(row)), 0.0)

    yy_row = yy.take(row)
    shift = t3 * zy.take(row)
    j, up = within(
        -y.take(row) - shift / yy_row,
        np.sqrt(left) / yy_row,
        None if free_y is None else free_y.take(row),
    )
    pair = row.take(up)
    t3, k = t3.take(up), k.take(up)
    t2 = j + y.take(pair)
    left = np.maximum(left.take(up) - np.square(t2 * yy.take(pair) + shift.take(up)), 0.0)

    xx_pair = xx.take(pair)
    shift = t2 * yx.take(pair) + t3 * zx.take(pair)
    i, up = within(
        -x.take(pair) - shift / xx_pair,
        np.sqrt(left) / xx_pair,
        None if free_x is None else free_x.take(pair),
    )
    pair = pair.take(up)
    t1 = i + x.take(pair)
    squares = np.square(t1 * xx.take(pair) + shift.take(up)) + (radius * radius - left.take(up))

    keep = squares > COINCIDENT * COINCIDENT
    undecided = squares > (cutoff - MARGIN) ** 2
    settled = np.ones(num_structures, dtype=np.bool_)
    num_loops = len(keep) - np.count_nonzero(keep)
    if np.count_nonzero(undecided) or num_loops != len(positions):
        of_edge = structure.take(pair)
        settled[of_edge[undecided]] = False
        settled &= np.bincount(of_edge[~keep], minlength=num_structures) == num_atoms
    index = keep.nonzero()[0]
    pair, up = pair.take(index), up.take(index)
    src = src.take(pair)
    degrees = np.bincount(src, minlength=len(positions))
    if not degrees.all():
        settled[owner[degrees == 0]] = False
    counts: list[int] = np.add.reduceat(degrees, starts).tolist()

    def write(arrays: Arrays) -> None:
        arrays["src_nodes"][:], arrays["dst_nodes"][:] = src, dst.take(pair)
        np.sqrt(squares.take(index), out=arrays["distances"], casting="same_kind")
        images = np.empty((len(index), 3))
        for axis, (image, t, places) in enumerate(((i, t1, index), (j, t2, up), (k, t3, up))):
            images[:, axis] = image.take(places)
            arrays["unit_offsets"][:, axis] = t.take(places)
        arrays["images"][:] = images
        arrays["offsets"][:] = translations(images, structures.matrices, counts)

    return GroupEdges(counts, settled, write)


def translations(images: Floats, matrices: Floats, counts: list[int]) -> Floats:
    """Compute ``images @ cell`` [E, 3], angstrom, for images that are grouped by structure."""
    vectors = np.empty_like(images)
    start = 0
    for matrix, count in zip(matrices, counts, strict=True):
        rows = slice(start, start + count)
        np.matmul(images[rows], matrix, out=vectors[rows])
        start += count
    return vectors


def within(center: Floats, half: Floats, free: NDArray[np.bool_] | None) -> tuple[Floats, Ints]:
    """Enumerate the integers within ``half`` of each center, and return them with their rows.

    In rows that are not free, zero is the only integer that is considered.
    """
    first, last = np.ceil(center - half), np.floor(center + half)
    if free is not None:
        first, last = np.where(free, first, np.maximum(first, 0)), np.where(free, last, np.minimum(last, 0))
    counts = np.maximum(last - first + 1.0, 0.0).astype(np.int64)
    row = np.arange(len(counts)).repeat(counts)
    # In each row, count from its first integer on: the index over all rows, minus the number of earlier
    # integers.
    before = counts.cumsum() - counts
    return np.arange(float(len(row))) + (first - before).repeat(counts), row


def _lower_triangles(cells: Floats) -> Floats:
    """Return the lower triangles xx, yx, yy, zx, zy, zz [6, B] of the rotated cells [B, 3, 3].

    This is the modified Gram-Schmidt process. It projects the remainder of each vector, which keeps the error
    small.
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
