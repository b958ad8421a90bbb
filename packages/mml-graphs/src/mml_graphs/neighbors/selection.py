"""Select and add edges: the nearest k neighbors, one edge per pair, self loops."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mml_graphs.neighbors.find_edges import Edges


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
