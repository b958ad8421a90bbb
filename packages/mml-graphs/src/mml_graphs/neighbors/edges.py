"""Edges: their lengths, atoms without edges, and the selection of edges."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mml_graphs.neighbors.lattice import Cell

# Backends differ in how they treat a pair at exactly the cutoff. They therefore search slightly beyond the
# cutoff, and `mml_graphs.neighbors.find_edges` decides which pairs are within it, by one formula in float64.
MARGIN = 1e-6  # angstrom
COINCIDENT = 1e-4  # angstrom


class Edges(NamedTuple):
    """Directed edges, sorted by source atom.

    Attributes
    ----------
    src, dst
        [E] int64: edge i connects atom ``src[i]`` to an image of atom ``dst[i]``.
    images
        [E, 3] float, integer-valued: lattice translation of the destination atom.
    distances
        [E] float64: ``|pos[dst] + images @ cell - pos[src]|``, angstrom.
    """

    src: NDArray[np.int64]
    dst: NDArray[np.int64]
    images: NDArray[np.floating[Any]]
    distances: NDArray[np.float64]

    def take(self, selection: NDArray[np.bool_] | NDArray[np.int64]) -> Edges:
        """Return the edges that a boolean mask or an index array selects."""
        index = np.flatnonzero(selection) if selection.dtype == np.bool_ else selection
        src, dst, images, distances = self
        return Edges(
            src.take(index),
            dst.take(index),
            images.take(index, axis=0),
            distances.take(index),
        )


def edge_lengths(
    positions: NDArray[np.float64],
    cell: Cell,
    src: NDArray[np.int64],
    dst: NDArray[np.int64],
    images: NDArray[np.floating[Any]],
) -> NDArray[np.float64]:
    """Compute the lengths of edges by the formula that decides which pairs are within the cutoff.

    The formula is written out component by component, so that an edge and its reverse round to exactly the
    same length.

    Parameters
    ----------
    positions
        [N, 3], angstrom.
    cell
        Completed cell.
    src, dst, images
        [E], [E] and [E, 3], the edges.

    Returns
    -------
    ndarray
        [E], ``|pos[dst] + images @ cell - pos[src]|``, angstrom.
    """
    i, j, k = np.ascontiguousarray(images.T, dtype=np.float64)
    columns = np.ascontiguousarray(positions.T)
    squares = np.zeros(len(src))
    for coordinate, (a, b, c) in zip(columns, cell.matrix.T.tolist(), strict=True):
        component = coordinate.take(dst) - coordinate.take(src) + (i * a + j * b + k * c)
        squares += component * component
    return np.sqrt(squares)


def with_exact_lengths(positions: NDArray[np.float64], cell: Cell, edges: Edges) -> Edges:
    """Return the edges with lengths from `edge_lengths`, which are the same for an edge and its reverse."""
    return edges._replace(distances=edge_lengths(positions, cell, edges.src, edges.dst, edges.images))


def check_coincident(
    positions: NDArray[np.float64],
    cell: Cell,
    src: NDArray[np.int64],
    dst: NDArray[np.int64],
    images: NDArray[np.floating[Any]],
) -> None:
    """Raise a ``ValueError`` that names two atoms at the same position, if any edge connects such atoms."""
    other = np.flatnonzero((src != dst) | images.any(axis=1))
    if other.size:
        first = min(other.tolist(), key=lambda edge: (src[edge], dst[edge]))
        one, two, edge = int(src[first]), int(dst[first]), slice(first, first + 1)
        distance = edge_lengths(positions, cell, src[edge], dst[edge], images[edge])[0]
        raise ValueError(
            f"atoms {one} and {two} are at the same position {positions[one].round(4).tolist()} "
            f"({distance:.1e} angstrom apart, periodic images included). Remove one of them."
        )


def isolated_atoms(edges: Edges, num_atoms: int) -> NDArray[np.int64]:
    """Return the atoms that have no edge.

    Parameters
    ----------
    edges
        Directed edges, sorted by source.
    num_atoms
        Number of atoms.

    Returns
    -------
    ndarray
        Indices of the atoms, ascending.
    """
    src = edges.src
    if src.size and np.count_nonzero(src[1:] != src[:-1]) + 1 == num_atoms:
        return src[:0]  # as many sources as atoms; this common case needs no counting per atom
    return np.flatnonzero(np.bincount(src, minlength=num_atoms) == 0)


def nearest_lengths(edges: Edges, num_atoms: int) -> NDArray[np.float64]:
    """Return the length of the shortest edge of each atom [N], angstrom. Infinite for atoms without edges.

    The edges are sorted by source.
    """
    lengths = np.full(num_atoms, np.inf)
    if edges.src.size:
        first = np.concatenate(([0], np.flatnonzero(edges.src[1:] != edges.src[:-1]) + 1))
        lengths[edges.src[first]] = np.minimum.reduceat(edges.distances, first)
    return lengths


def nearest_neighbors(edges: Edges, num_atoms: int, k: int, tie_tolerance: float, symmetric: bool) -> Edges:
    """Keep the k nearest neighbors of each source atom, and all neighbors tied with the k-th.

    Keeping ties makes the result independent of the order of the atoms, the choice of the cell and rotations.

    Parameters
    ----------
    edges
        Directed edges, sorted by source, each with its reverse.
    num_atoms
        Number of atoms, N.
    k
        Number of neighbors to keep, at least one.
    tie_tolerance
        Largest difference in length between the k-th shortest edge and an edge that is tied with it,
        angstrom.
    symmetric
        If ``True``, keep an edge if at least one of its atoms keeps it, so that the result contains the
        reverse of every edge.

    Returns
    -------
    Edges
        Kept edges, sorted by source.
    """
    degrees = np.bincount(edges.src, minlength=num_atoms)
    if not edges.src.size or degrees.max() <= k:
        return edges
    order = np.lexsort((edges.distances, edges.src))
    crowded = np.flatnonzero(degrees > k)
    kth = (np.cumsum(degrees) - degrees)[crowded] + k - 1
    reach = np.full(num_atoms, np.inf)
    reach[crowded] = edges.distances[order[kth]] + tie_tolerance
    limit = reach[edges.src]
    if symmetric:  # an edge and its reverse have exactly the same length
        limit = np.maximum(limit, reach[edges.dst])
    return edges.take(edges.distances <= limit)


def one_per_pair(edges: Edges) -> Edges:
    """Keep one direction of each pair, from the lower index to the higher.

    Of the two edges between an atom and its own image, keep the one whose first non-zero image component is
    positive.

    Parameters
    ----------
    edges
        Directed edges, each with its reverse.

    Returns
    -------
    Edges
        Half of the edges, in the same order.
    """
    x, y, z = edges.images.T
    positive = (x > 0) | ((x == 0) & ((y > 0) | ((y == 0) & (z > 0))))
    return edges.take((edges.src < edges.dst) | ((edges.src == edges.dst) & positive))


def with_self_loops(edges: Edges, num_atoms: int) -> Edges:
    """Add an edge of length zero from each atom to itself.

    Parameters
    ----------
    edges
        Edges, sorted by source.
    num_atoms
        Number of atoms, N.

    Returns
    -------
    Edges
        The edges and N self loops, sorted by source. The self loop of an atom precedes its other edges.
    """
    atoms: NDArray[np.int64] = np.arange(num_atoms)
    zeros = np.zeros((num_atoms, 3))
    loops = Edges(atoms, atoms, zeros, np.zeros(num_atoms))
    joined = Edges(*(np.concatenate(pair) for pair in zip(loops, edges, strict=True)))
    return joined.take(np.argsort(joined.src, kind="stable"))
