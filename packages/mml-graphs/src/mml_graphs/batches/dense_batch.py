"""Find the neighbors of several structures of tens to hundreds of atoms each, by matrix products."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mml_graphs.batches.small_cells import translations, within
from mml_graphs.batches.structures import GroupEdges, Structures
from mml_graphs.neighbors.dense import PRECISE, SLACK
from mml_graphs.neighbors.edges import BLOCK, COINCIDENT, MARGIN
from mml_graphs.neighbors.find_edges import BOUNDARY
from mml_graphs.sample_tensors import Arrays

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def dense_group_edges(structures: Structures, cutoff: float) -> GroupEdges:
    """Find the edges of several structures with the method of `mml_graphs.neighbors.dense.dense_neighbors`.

    Except for the matrix products, all operations are vectorized over all structures. The lattice translation
    and the fractional coordinates of an image of an atom are computed once and looked up for each of its
    edges.

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
    radius = cutoff + MARGIN
    num_structures = len(structures.cells)
    num_atoms = np.array(structures.counts)
    owner = np.arange(num_structures).repeat(num_atoms)
    pbc = structures.pbc[owner]

    fractions = np.einsum("ni,nij->nj", structures.positions, structures.inverses[owner])
    shifts = np.floor(fractions + BOUNDARY) * pbc
    fractions -= shifts
    back = np.einsum("ni,nij->nj", shifts, structures.matrices[owner])
    positions = structures.positions - back

    # The images of each atom that are no farther from the cell's faces than the radius.
    half = structures.reaches(radius)[owner] + (0.5 + SLACK)
    center = np.where(pbc, 0.5 - fractions, 0.0)
    atom: Ints = np.arange(len(owner))
    columns: list[Floats] = []
    for axis in range(3):
        free = None if pbc.all() else pbc[atom, axis]
        image, row = within(center[atom, axis], half[atom, axis], free)
        atom, columns = atom[row], [column[row] for column in columns] + [image]
    i, j, k = columns
    home = np.flatnonzero((i == 0.0) & (j == 0.0) & (k == 0.0))  # index of image zero of each atom
    images = np.stack(columns, axis=1)
    num_ghosts: list[int] = np.bincount(owner[atom], minlength=num_structures).tolist()
    vectors = translations(images, structures.matrices, num_ghosts)
    ghosts = positions.take(atom, axis=0)
    ghosts += vectors
    ghost_fractions = fractions.take(atom, axis=0)
    ghost_fractions += images

    # Row i of `left` times column j of `right` is |x_i - y_j|^2.
    left = np.empty((len(positions), 5))
    left[:, :3] = positions
    left[:, 3] = np.einsum("ij,ij->i", positions, positions)
    left[:, 4] = 1.0
    right = np.empty((5, len(ghosts)))
    np.multiply(ghosts.T, -2.0, out=right[:3])
    right[3] = 1.0
    np.einsum("ij,ij->i", ghosts, ghosts, out=right[4])
    largest = float(right[4].max())
    limit = radius * radius + 1e-14 * largest

    sources, seen, squared, counts = [], [], [], []
    first_atom = first_ghost = 0
    for more_atoms, more_ghosts in zip(structures.counts, num_ghosts, strict=True):
        atoms = slice(first_atom, first_atom + more_atoms)
        some = slice(first_ghost, first_ghost + more_ghosts)
        matrix = left[atoms] @ right[:, some]
        matrix[np.arange(more_atoms), home[atoms] - first_ghost] = math.inf  # an atom and itself
        flat = matrix.ravel()
        near = (flat <= limit).nonzero()[0]
        squared.append(flat.take(near))
        src, ghost = np.divmod(near, more_ghosts)
        src += first_atom
        ghost += first_ghost
        sources.append(src)
        seen.append(ghost)
        counts.append(len(near))
        first_atom, first_ghost = atoms.stop, some.stop
    src, ghost, squares = np.concatenate(sources), np.concatenate(seen), np.concatenate(squared)
    if largest > PRECISE:
        squares = np.square(ghosts.take(ghost, axis=0) - positions.take(src, axis=0)).sum(axis=1)

    settled = np.ones(num_structures, dtype=np.bool_)
    undecided = (squares > (cutoff - MARGIN) ** 2) | (squares < COINCIDENT * COINCIDENT)
    if np.count_nonzero(undecided):
        settled[owner[src[undecided]]] = False
    degrees = np.bincount(src, minlength=len(owner))
    if not degrees.all():
        settled[owner[degrees == 0]] = False

    def write(arrays: Arrays) -> None:
        arrays["src_nodes"][:] = src
        np.take(atom, ghost, out=arrays["dst_nodes"], mode="clip")
        np.sqrt(np.maximum(squares, 0.0), out=arrays["distances"], casting="same_kind")
        if shifts.any():  # the images of the sample contract refer to the atoms as given
            _look_up(images - shifts.take(atom, axis=0), ghost, shifts, src, arrays["images"])
            _look_up(vectors - back.take(atom, axis=0), ghost, back, src, arrays["offsets"])
        else:
            _look_up(images, ghost, None, src, arrays["images"])
            _look_up(vectors, ghost, None, src, arrays["offsets"])
        _look_up(ghost_fractions, ghost, -fractions, src, arrays["unit_offsets"])

    return GroupEdges(counts, settled, write)


def _look_up(of_ghost: Floats, ghost: Ints, of_source: Floats | None, src: Ints, out: NDArray[Any]) -> None:
    """Write ``of_ghost[ghost] + of_source[src]`` [E, 3], in blocks that stay in cache."""
    if of_source is None:
        np.take(of_ghost.astype(out.dtype), ghost, axis=0, out=out, mode="clip")
        return
    for start in range(0, len(ghost), BLOCK):
        rows = slice(start, start + BLOCK)
        block = of_ghost.take(ghost[rows], axis=0)
        block += of_source.take(src[rows], axis=0)
        out[rows] = block
