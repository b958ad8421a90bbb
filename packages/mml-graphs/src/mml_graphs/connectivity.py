"""Which atoms of a crystal, and which of their images, edges connect."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mml_graphs.lattice import Pbc
from mml_graphs.neighbors import Edges
from mml_graphs.selection import one_per_pair

Ints = NDArray[np.int64]


class Connection(NamedTuple):
    """What edges connect.

    Attributes
    ----------
    length
        The length of edges, angstrom, up to which all atoms and all of their images are connected; infinite
        where they are not.
    parts
        [N], an atom of the part of the cell's graph that each atom is in.
    reached
        [3, N], the image in which each atom is connected to that one in image zero.
    lattice
        Translations that the cycles of all parts generate: three vectors in echelon form, zero where there is
        none for the direction. They generate all of them where all pivots are one.
    """

    length: float
    parts: Ints
    reached: Ints
    lattice: list[list[int]]


def unconnected(n_atoms: int) -> Connection:
    """Return what no edge connects: N parts of one atom."""
    lattice = [[0, 0, 0], [0, 0, 0], [0, 0, 0]]
    return Connection(math.inf, np.arange(n_atoms), np.zeros((3, n_atoms), dtype=np.int64), lattice)


def connect(edges: Edges, pbc: Pbc, known: Connection) -> Connection:
    """Tell up to which length edges connect all atoms and all of their images.

    A crystal's graph may be connected within the cell and still fall apart into many nets, as that of layers
    or of interwoven frameworks does. Going once round a cycle of the cell's graph leads from an atom to one
    of its images. The infinite graph is connected where the graph of the cell is, and the translations of
    its cycles generate all lattice vectors of the periodic directions (Chung, Hahn and Klee, Acta Cryst. A
    40, 42 (1984)). A spanning tree gives a cycle for each edge that is not in it; of the tree of the shortest
    edges, those up to any length span what edges of that length connect.

    Parameters
    ----------
    edges
        Directed edges, each with its reverse, with exact lengths, angstrom.
    pbc
        Which directions are periodic.
    known
        What shorter edges connect, that do not connect all.

    Returns
    -------
    Connection
        What these edges and the shorter ones connect.
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
    """Return the periodic directions along which the next image of an atom is not connected to the atom."""
    rest = _modulo(np.eye(3, dtype=np.int64), found.lattice)
    return [axis for axis in range(3) if pbc[axis] and rest[:, axis].any()]


def connects_more(edges: Edges, known: Connection) -> NDArray[np.bool_]:
    """Tell which edges lead to another part, or round a cycle whose translation is new.

    Parameters
    ----------
    edges
        Directed edges.
    known
        What is connected already.

    Returns
    -------
    ndarray
        [E] bool. The other edges can be left out.
    """
    _, parts, reached, lattice = known
    x, y, z = _modulo(_translations(edges, reached), lattice)
    return (parts.take(edges.src) != parts.take(edges.dst)) | ((x | y | z) != 0)


def _shortest_tree(edges: Edges, known: Connection) -> tuple[Ints, Ints, int]:
    """Span the atoms by the first possible edges, all parts at once (Boruvka's algorithm).

    Parameters
    ----------
    edges
        One for each pair, the shortest first.
    known
        What is connected already.

    Returns
    -------
    parts, reached, last
        As of `Connection`; and the last edge of the tree, -1 where it has none.
    """
    _, parts, reached, _ = known
    n_atoms = len(parts)
    index, last = np.arange(len(edges.src)), -1
    while True:
        one, two = parts.take(edges.src), parts.take(edges.dst)
        between = np.flatnonzero(one != two)
        if not between.size:
            return parts, reached, last
        edges = edges.take(between)
        one, two, index = one.take(between), two.take(between), index.take(between)

        # Each part takes its first edge. As the order is total, two that take each other's are the only ring.
        first = np.full(n_atoms, len(index))
        np.minimum.at(first, one, np.arange(len(index)))
        np.minimum.at(first, two, np.arange(len(index)))
        roots = np.flatnonzero(first < len(index))
        chosen = first.take(roots)
        last = max(last, int(index.take(chosen).max()))
        forward = one.take(chosen) == roots
        parent, step = np.arange(n_atoms), np.zeros((3, n_atoms), dtype=np.int64)
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
    """Return where each edge leads [3, E]: to which image of its second part, from the first part's."""
    translations = reached.take(edges.src, axis=1)
    translations -= reached.take(edges.dst, axis=1)
    translations += edges.images.T.astype(np.int64)
    return translations


def _generate(vectors: Ints, pbc: Pbc, basis: list[list[int]]) -> tuple[int, list[list[int]]]:
    """Add integer vectors [3, E] to a lattice, one after the other, until it is the whole.

    Returns
    -------
    last, basis
        The last vector that the lattice grew by, -1 where there is none; and its new basis.
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
    """Add a vector to the lattice of a basis in echelon form, by Euclid's algorithm on the pivots."""
    added = []
    for axis, pivot in enumerate(basis):
        while vector[axis]:
            times = pivot[axis] // vector[axis]
            pivot, vector = vector, [a - times * b for a, b in zip(pivot, vector, strict=True)]
        added.append(pivot)
    return added


def _modulo(vectors: Ints, basis: list[list[int]]) -> Ints:
    """Reduce vectors [3, E] modulo a lattice: to zero where they are in it."""
    vectors = vectors.copy()
    for axis, row in enumerate(basis):
        if row[axis]:
            times = vectors[axis] * row[axis] if abs(row[axis]) == 1 else vectors[axis] // row[axis]
            for component in range(axis, 3):
                if row[component]:
                    vectors[component] -= times * row[component]
    return vectors
