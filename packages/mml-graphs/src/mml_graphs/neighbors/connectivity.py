"""Determine which atoms of a crystal, and which of their periodic images, edges connect."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mml_graphs.neighbors.edges import Edges, one_per_pair
from mml_graphs.neighbors.lattice import Pbc

Ints = NDArray[np.int64]


class Connection(NamedTuple):
    """Connectivity of a crystal under a set of edges.

    Attributes
    ----------
    length
        Smallest edge length at which all atoms and all of their images are connected, angstrom. Infinite if
        they are not connected.
    parts
        [N], index of an atom that represents the connected part of the cell's graph to which each atom
        belongs.
    reached
        [3, N], image in which each atom is connected to its representative in image zero.
    lattice
        Basis of the translations that the cycles of all parts generate: three vectors in echelon form, with a
        zero vector for each direction without a translation. The basis generates all lattice translations if
        all pivots are one.
    """

    length: float
    parts: Ints
    reached: Ints
    lattice: list[list[int]]


def unconnected(num_atoms: int) -> Connection:
    """Return the connectivity without any edge: N parts of one atom each."""
    lattice = [[0, 0, 0], [0, 0, 0], [0, 0, 0]]
    return Connection(math.inf, np.arange(num_atoms), np.zeros((3, num_atoms), dtype=np.int64), lattice)


def connect(edges: Edges, pbc: Pbc, known: Connection) -> Connection:
    """Find the smallest edge length at which all atoms and all of their images are connected.

    The graph of a crystal may be connected within the cell and still consist of many separate nets, as in
    layered or interwoven frameworks. A cycle of the cell's graph leads from an atom to one of its images. The
    infinite graph is connected if the graph of the cell is connected and the translations of its cycles
    generate all lattice vectors of the periodic directions (Chung, Hahn and Klee, Acta Cryst. A 40, 42
    (1984)). A spanning tree gives one cycle for each edge that is not in the tree. The tree is built from the
    shortest edges. Therefore the tree edges up to any length span exactly the parts that all edges up to that
    length connect.

    Parameters
    ----------
    edges
        Directed edges, each with its reverse, with exact lengths, angstrom.
    pbc
        Periodicity along each of the three lattice vectors.
    known
        Connectivity under shorter edges, which do not connect everything.

    Returns
    -------
    Connection
        Connectivity under the given edges and the shorter ones together.
    """
    edges = one_per_pair(edges)
    edges = edges.take(edges.distances.argsort(kind="stable"))
    parts, reached, last = _shortest_tree(edges, known)
    cycles = _translations(edges, reached)
    last_cycle, lattice = _generate(cycles, pbc, known.lattice)
    if (parts != parts[0]).any() or not _is_whole(lattice, pbc):
        return Connection(math.inf, parts, reached, lattice)
    last = max(last, last_cycle)
    return Connection(float(edges.distances[last]) if last >= 0 else 0.0, parts, reached, lattice)


def directions_apart(found: Connection, pbc: Pbc) -> list[int]:
    """Return the periodic directions along which an atom is not connected to its next image."""
    rest = _modulo(np.eye(3, dtype=np.int64), found.lattice)
    return [axis for axis in range(3) if pbc[axis] and rest[:, axis].any()]


def connects_more(edges: Edges, known: Connection) -> NDArray[np.bool_]:
    """Find the edges that connect two parts, or that close a cycle with a new translation.

    Parameters
    ----------
    edges
        Directed edges.
    known
        Current connectivity.

    Returns
    -------
    ndarray
        [E] bool. Edges marked ``False`` can be left out.
    """
    _, parts, reached, lattice = known
    x, y, z = _modulo(_translations(edges, reached), lattice)
    return (parts.take(edges.src) != parts.take(edges.dst)) | ((x | y | z) != 0)


def _shortest_tree(edges: Edges, known: Connection) -> tuple[Ints, Ints, int]:
    """Build the spanning tree of the shortest edges, for all parts at once (Boruvka's algorithm).

    Parameters
    ----------
    edges
        One edge per pair, the shortest first.
    known
        Current connectivity.

    Returns
    -------
    parts, reached, last
        ``parts`` and ``reached`` as in `Connection`, and the index of the last edge of the tree, -1 if the
        tree has no edge.
    """
    _, parts, reached, _ = known
    num_atoms = len(parts)
    index, last = np.arange(len(edges.src)), -1
    while True:
        one, two = parts.take(edges.src), parts.take(edges.dst)
        between = np.flatnonzero(one != two)
        if not between.size:
            return parts, reached, last
        edges = edges.take(between)
        one, two, index = one.take(between), two.take(between), index.take(between)

        # Each part takes its first edge. The order is total, so the only rings are two parts that take the
        # same edge.
        first = np.full(num_atoms, len(index))
        np.minimum.at(first, one, np.arange(len(index)))
        np.minimum.at(first, two, np.arange(len(index)))
        roots = np.flatnonzero(first < len(index))
        chosen = first.take(roots)
        last = max(last, int(index.take(chosen).max()))
        forward = one.take(chosen) == roots
        parent, step = np.arange(num_atoms), np.zeros((3, num_atoms), dtype=np.int64)
        parent[roots] = np.where(forward, two.take(chosen), one.take(chosen))
        step[:, roots] = _translations(edges.take(chosen), reached) * np.where(forward, -1, 1)
        tops = roots[(parent.take(parent.take(roots)) == roots) & (roots < parent.take(roots))]
        parent[tops], step[:, tops] = tops, 0

        while not np.array_equal(grandparent := parent.take(parent), parent):
            step += step.take(parent, axis=1)
            parent = grandparent
        reached = reached + step.take(parts, axis=1)
        parts = parent.take(parts)


def _translations(edges: Edges, reached: Ints) -> Ints:
    """Return the image [3, E] of the second part to which each edge leads, relative to the first part."""
    translations = reached.take(edges.src, axis=1)
    translations -= reached.take(edges.dst, axis=1)
    translations += edges.images.T.astype(np.int64)
    return translations


def _generate(vectors: Ints, pbc: Pbc, basis: list[list[int]]) -> tuple[int, list[list[int]]]:
    """Add integer vectors [3, E] to a lattice, one after the other, until it is complete.

    Returns
    -------
    last, basis
        Index of the last vector that extended the lattice, -1 if none did, and the new basis.
    """
    index, last = np.arange(vectors.shape[1]), -1
    while not _is_whole(basis, pbc):
        x, y, z = vectors = _modulo(vectors, basis)
        new = np.flatnonzero(x | y | z)
        if not new.size:
            break
        vectors, index = vectors.take(new, axis=1), index.take(new)
        last = int(index[0])
        basis = _add(basis, vectors[:, 0].tolist())
    return last, basis


def _is_whole(basis: list[list[int]], pbc: Pbc) -> bool:
    return all(abs(basis[axis][axis]) == 1 for axis in range(3) if pbc[axis])


def _add(basis: list[list[int]], vector: list[int]) -> list[list[int]]:
    """Add a vector to a lattice whose basis is in echelon form, by Euclid's algorithm on the pivots."""
    added = []
    for axis, pivot in enumerate(basis):
        while vector[axis]:
            times = pivot[axis] // vector[axis]
            pivot, vector = vector, [a - times * b for a, b in zip(pivot, vector, strict=True)]
        added.append(pivot)
    return added


def _modulo(vectors: Ints, basis: list[list[int]]) -> Ints:
    """Reduce vectors [3, E] modulo a lattice. Vectors of the lattice become zero."""
    vectors = vectors.copy()
    for axis, row in enumerate(basis):
        if row[axis]:
            times = vectors[axis] * row[axis] if abs(row[axis]) == 1 else vectors[axis] // row[axis]
            for component in range(axis, 3):
                if row[component]:
                    vectors[component] -= times * row[component]
    return vectors
