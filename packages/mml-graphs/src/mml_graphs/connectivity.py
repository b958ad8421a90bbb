"""Cutoffs that grow until all atoms of a crystal, and all of their images, are one connected graph."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mml_graphs._optional import optional_module
from mml_graphs.adaptive import FEW, LIMIT, adaptive_edges, first_step
from mml_graphs.lattice import Cell, Pbc
from mml_graphs.neighbors import Edges, search, with_exact_lengths

Ints = NDArray[np.int64]


GROWTH = 1.26  # twice the volume: all searches before the last cost as much as that one


def connected_edges(
    positions: NDArray[np.float64], cell: Cell, cutoff: float, backend: str
) -> tuple[Edges, float]:
    """Find edges, with the cutoff grown to the first step at which all atoms and images are connected.

    Steps are those of `mml_graphs.adaptive.adaptive_edges`, and so are arguments and result.

    Raises
    ------
    ValueError
        If 100 angstrom (or a larger nominal cutoff) are not enough.
    """
    n_atoms = len(positions)
    edges, radius = adaptive_edges(positions, cell, cutoff, backend)  # the least that is needed
    least = radius
    while True:
        edges = with_exact_lengths(positions, cell, edges)
        needed = connecting_length(edges, n_atoms, cell.pbc)
        if math.isfinite(needed):
            break
        bound = _bound(positions, cell)
        if radius >= LIMIT:
            raise ValueError(_too_far(connected_parts(edges, n_atoms), radius, bound))
        radius = first_step(cutoff, bound if radius < bound < math.inf else radius * GROWTH)
        edges = search(positions, cell, radius, backend)
    enough = first_step(cutoff, max(needed, least))
    if enough < radius:
        radius = enough
        edges = edges.take(edges.distances <= radius)
    return edges, radius


def connecting_length(edges: Edges, n_atoms: int, pbc: Pbc) -> float:
    r"""Return the shortest length up to which edges connect all atoms and all of their images.

    A crystal's graph may be connected within the cell and still fall apart into many nets, as that of layers
    or of interwoven frameworks does. Going once round a cycle of the cell's graph leads from an atom to one
    of its images. The infinite graph is connected where the graph of the cell is, and the translations of
    its cycles generate all lattice vectors of the periodic directions (Chung, Hahn and Klee, Acta Cryst. A
    40, 42 (1984)). A spanning tree gives a cycle for each edge that is not in it; of the tree of the shortest
    edges, those up to any length span what edges of that length connect.

    Parameters
    ----------
    edges
        Directed edges, with exact lengths, angstrom.
    n_atoms
        Number of atoms N.
    pbc
        Which directions are periodic.

    Returns
    -------
    float
        Angstrom; infinite where all of the edges are not enough.
    """
    order = edges.distances.argsort(kind="stable")
    src, dst = edges.src.take(order), edges.dst.take(order)
    images = edges.images.take(order, axis=0).astype(np.int64)
    lengths = edges.distances.take(order)

    longest, potentials = _shortest_tree(src, dst, images, lengths, n_atoms)
    periodic = [axis for axis in range(3) if pbc[axis]]
    if math.isinf(longest) or not periodic:
        return longest
    cycles = (potentials[src] + images - potentials[dst])[:, periodic]
    # The lattice grows by the first edge of each translation only.
    _, first = np.unique(cycles, axis=0, return_index=True)
    first.sort()
    enough = _first_to_generate_all(cycles[first].tolist(), len(periodic))
    return math.inf if enough is None else max(longest, float(lengths[first[enough]]))


def connected_parts(edges: Edges, n_atoms: int) -> Ints:
    """Return the number of the part that each atom is in, [N], by edges of the cell's graph."""
    return np.asarray(_csgraph().connected_components(_matrix(edges.src, edges.dst, n_atoms))[1], np.int64)


def _shortest_tree(
    src: Ints, dst: Ints, images: Ints, lengths: NDArray[np.float64], n_atoms: int
) -> tuple[float, Ints]:
    """Span all atoms by the shortest edges, which are given in order.

    Returns
    -------
    longest, potentials
        The longest edge of the tree, angstrom, infinite where there is no tree; and the image [N, 3] in which
        the tree reaches each atom from atom zero in image zero.
    """
    potentials = np.zeros((n_atoms, 3), dtype=np.int64)
    if n_atoms == 1:
        return 0.0, potentials
    _, first = np.unique(src * n_atoms + dst, return_index=True)  # of several edges, the shortest
    first = first[src[first] != dst[first]]
    # Ranks for lengths: equal lengths then have one order, in the tree as in the list.
    tree = _csgraph().minimum_spanning_tree(_matrix(src[first], dst[first], n_atoms, first + 1.0))
    if tree.nnz < n_atoms - 1:
        return math.inf, potentials
    tree = tree.tocoo()
    rank = tree.data.astype(np.int64) - 1
    step = dict(zip(zip(src[rank].tolist(), dst[rank].tolist(), strict=True), images[rank], strict=True))
    reached, previous = _csgraph().breadth_first_order(tree.tocsr(), 0, directed=False)
    for atom in reached[1:].tolist():
        before = int(previous[atom])
        forward = step.get((before, atom))
        potentials[atom] = potentials[before] + (-step[atom, before] if forward is None else forward)
    return float(lengths[rank.max()]), potentials


def _first_to_generate_all(vectors: Iterable[list[int]], n_dimensions: int) -> int | None:
    """Return the index of the first vector with which integer vectors generate all; None if they never do.

    Each vector is reduced by Euclid's algorithm against a basis in echelon form, which keeps generating the
    same lattice. That is the whole where all pivots are one.
    """
    basis: list[list[int] | None] = [None] * n_dimensions
    for index, vector in enumerate(vectors):
        for axis in range(n_dimensions):
            pivot = basis[axis]
            if pivot is None:
                if vector[axis]:
                    basis[axis] = vector
                    break
                continue
            while vector[axis]:
                times = pivot[axis] // vector[axis]
                pivot, vector = vector, [a - times * b for a, b in zip(pivot, vector, strict=True)]
            basis[axis] = pivot
        if all(pivot is not None and abs(pivot[axis]) == 1 for axis, pivot in enumerate(basis)):
            return index
    return None


def _too_far(parts: Ints, radius: float, needed: float) -> str:
    found = "atom 0 is not connected to all of its periodic images"
    if parts.max():
        found = f"atoms 0 and {int(np.flatnonzero(parts != parts[0])[0])} are not connected"
    remedy = f"; a cutoff of {needed:.2f} angstrom is needed" if math.isfinite(needed) else ""
    return f"{found} within {radius:g} angstrom{remedy}"


def _bound(positions: NDArray[np.float64], cell: Cell) -> float:
    """Bound the connecting length from above: infinite for many atoms, else exact unless very skewed."""
    n_atoms = len(positions)
    if n_atoms * n_atoms * 27 > FEW:
        return math.inf
    return connecting_length(_nearest_images(positions, cell), n_atoms, cell.pbc)


def _nearest_images(positions: NDArray[np.float64], cell: Cell) -> Edges:
    """Return edges from each atom to the 27 images of each that are nearest in fractional coordinates."""
    n_atoms = len(positions)
    src, dst = (ends.ravel() for ends in np.indices((n_atoms, n_atoms)))
    nearest = -np.round((positions[dst] - positions[src]) @ cell.inverse) * np.array(cell.pbc)
    around = np.array(list(product(*((-1, 0, 1) if periodic else (0,) for periodic in cell.pbc))))
    images = (nearest[:, None] + around).reshape(-1, 3)
    src, dst = src.repeat(len(around)), dst.repeat(len(around))
    edges = Edges(src, dst, images, np.zeros(len(src)))
    return with_exact_lengths(positions, cell, edges.take((src != dst) | images.any(axis=1)))


def _matrix(src: Ints, dst: Ints, n_atoms: int, weights: NDArray[np.float64] | None = None) -> Any:
    sparse = optional_module("scipy.sparse", "scipy", "connectivity='graph'")
    data = np.ones(len(src)) if weights is None else weights
    return sparse.coo_matrix((data, (src, dst)), shape=(n_atoms, n_atoms)).tocsr()


def _csgraph() -> Any:
    return optional_module("scipy.sparse.csgraph", "scipy", "connectivity='graph'")
