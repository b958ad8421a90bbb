"""Fewer edges, or more: the nearest k, one a pair, self loops."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mml_graphs.neighbors import Edges


def nearest_neighbors(edges: Edges, n_atoms: int, k: int, tie_tolerance: float, symmetric: bool) -> Edges:
    """Keep the k nearest neighbours of each source atom, and whoever ties with the k-th.

    Keeping ties makes the result independent of the order of atoms, of the choice of cell and of rotation.

    Parameters
    ----------
    edges
        Directed edges, sorted by source, each with its reverse.
    n_atoms
        Number of atoms, N.
    k
        How many to keep, at least one.
    tie_tolerance
        An edge stays that is at most this much longer than the k-th shortest one, angstrom.
    symmetric
        Keep an edge where either end keeps it, so that the result equals its own reverse.

    Returns
    -------
    Edges
        Sorted by source.
    """
    degrees = np.bincount(edges.src, minlength=n_atoms)
    if not edges.src.size or degrees.max() <= k:
        return edges
    order = np.lexsort((edges.distances, edges.src))
    crowded = np.flatnonzero(degrees > k)
    kth = (np.cumsum(degrees) - degrees)[crowded] + k - 1
    reach = np.full(n_atoms, np.inf)
    reach[crowded] = edges.distances[order[kth]] + tie_tolerance
    limit = reach[edges.src]
    if symmetric:  # an edge is as long as its reverse, to the last bit
        limit = np.maximum(limit, reach[edges.dst])
    return edges.take(edges.distances <= limit)


def one_per_pair(edges: Edges) -> Edges:
    """Keep one direction of each pair: from the lower index to the higher.

    Between an atom and its own image, the one whose first non-zero image component is positive.

    Parameters
    ----------
    edges
        Directed edges, each with its reverse.

    Returns
    -------
    Edges
        Half of them, in the same order.
    """
    x, y, z = edges.images.T
    positive = (x > 0) | ((x == 0) & ((y > 0) | ((y == 0) & (z > 0))))
    return edges.take((edges.src < edges.dst) | ((edges.src == edges.dst) & positive))


def with_self_loops(edges: Edges, n_atoms: int) -> Edges:
    """Add an edge of length zero from each atom to itself.

    Parameters
    ----------
    edges
        Edges, sorted by source.
    n_atoms
        Number of atoms, N.

    Returns
    -------
    Edges
        N more, sorted by source, the loop of an atom before its other edges.
    """
    atoms: NDArray[np.int64] = np.arange(n_atoms)
    zeros = np.zeros((n_atoms, 3))
    loops = Edges(atoms, atoms, zeros, np.zeros(n_atoms))
    joined = Edges(*(np.concatenate(pair) for pair in zip(loops, edges, strict=True)))
    return joined.take(np.argsort(joined.src, kind="stable"))
