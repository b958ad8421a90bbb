"""Test periodic graphs: crystals and graphs for hypothesis, a brute-force neighbor search, comparisons.

Other packages can use this module in their tests, too. The strategies import hypothesis when they are called.

Examples
--------
Test your own neighbor search::

    @given(crystals())
    def test_my_search(crystal):
        expected = brute_force_edges(crystal.positions, crystal.cell, crystal.pbc, cutoff=4.0)
        assert_same_edges(my_search(crystal, 4.0), expected)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from mml_graphs.libraries.graph_data import GraphData
from mml_graphs.libraries.graph_libraries import take_apart
from mml_graphs.neighbors.edges import Edges
from mml_graphs.neighbors.lattice import Pbc

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy


class Crystal(NamedTuple):
    """A crystal structure without chemical elements.

    Attributes
    ----------
    positions
        [N, 3] float64, angstrom. Atoms lie inside the cell, outside the cell and on its boundary.
    cell
        [3, 3] float64, rows are the lattice vectors, angstrom.
    pbc
        Periodicity along each of the three lattice vectors.
    """

    positions: NDArray[np.float64]
    cell: NDArray[np.float64]
    pbc: Pbc

    def sample(self, **extra: Any) -> dict[str, Any]:
        """Return a sample in which all atoms are carbon, with the given further keys."""
        return {
            "atomic_numbers": np.full(len(self.positions), 6),
            "pos": self.positions,
            "cell": self.cell[None],
            "pbc": np.array(self.pbc),
            **extra,
        }


def crystals(
    max_atoms: int = 4,
    min_length: float = 2.0,
    max_length: float = 8.0,
    pbc: Pbc | None = None,
    separation: float = 0.25,
) -> SearchStrategy[Crystal]:
    """Draw crystals, slabs, wires and clusters in skewed, flat, long and left-handed cells.

    All coordinates are short binary fractions. Distances therefore do not depend on how they are computed,
    and pairs at exactly the cutoff are common.

    Parameters
    ----------
    max_atoms
        Largest number of atoms.
    min_length, max_length
        Smallest and largest diagonal element of the cell, angstrom.
    pbc
        Periodicity along each of the three lattice vectors. ``None`` draws any combination.
    separation
        Smallest distance between two atoms, images included, angstrom.

    Returns
    -------
    SearchStrategy
        Strategy for `Crystal`.
    """
    from hypothesis import assume
    from hypothesis import strategies as st

    @st.composite
    def draw_crystal(draw: DrawFn) -> Crystal:
        length = st.integers(math.ceil(min_length * 4), math.floor(max_length * 4)).map(lambda n: n / 4)
        cell = np.diag([draw(length) for _ in range(3)])
        for row, column in ((1, 0), (2, 0), (2, 1)):
            cell[row] += draw(st.integers(-6, 6)) / 4 * cell[column]
        cell = cell[draw(st.permutations(range(3)))] * draw(st.sampled_from([1.0, -1.0]))
        periodic = pbc or draw(st.tuples(st.booleans(), st.booleans(), st.booleans()))
        coordinate = st.integers(-24, 40)
        num_atoms = draw(st.integers(1, max_atoms))
        fractions = [[draw(coordinate) / 16 for _ in range(3)] for _ in range(num_atoms)]
        crystal = Crystal(np.array(fractions) @ cell, cell, periodic)
        assume(not len(brute_force_edges(*crystal, cutoff=separation).src))
        return crystal

    return draw_crystal()


def brute_force_edges(
    positions: NDArray[np.float64], cell: NDArray[np.float64] | None, pbc: Pbc, cutoff: float
) -> Edges:
    """Find edges by examining every pair of atoms in every image that may be near enough, in float64.

    Parameters
    ----------
    positions
        [N, 3], angstrom.
    cell
        [3, 3], rows are the lattice vectors, angstrom. ``None`` for a molecule.
    pbc
        Periodicity along each of the three lattice vectors.
    cutoff
        Largest distance, angstrom, inclusive.

    Returns
    -------
    Edges
        Edges sorted by source, destination and image.
    """
    matrix = np.eye(3) if cell is None else np.asarray(cell, dtype=np.float64)
    inverse = np.linalg.inv(matrix)
    # The distance between planes of constant fractional coordinate is 1 / |column of the inverse|.
    fractions = positions @ inverse
    spread = fractions.max(axis=0) - fractions.min(axis=0)
    reach = np.ceil(cutoff * np.linalg.norm(inverse, axis=0) + spread).astype(int) + 1
    ranges = [range(-r, r + 1) if periodic else (0,) for r, periodic in zip(reach, pbc, strict=True)]
    images = np.array(list(itertools.product(*ranges)), dtype=np.float64)
    offsets = images @ matrix
    found = []
    for src, dst in itertools.product(range(len(positions)), repeat=2):
        distances = np.linalg.norm(positions[dst] - positions[src] + offsets, axis=1)
        near = distances <= cutoff
        if src == dst:
            near &= images.any(axis=1)
        found += [(src, dst, image, distances[image]) for image in np.flatnonzero(near)]
    columns = list(zip(*found, strict=True)) or [(), (), (), ()]
    picked = np.array(columns[2], dtype=np.int64)
    return Edges(
        np.array(columns[0], dtype=np.int64),
        np.array(columns[1], dtype=np.int64),
        images[picked],
        np.array(columns[3], dtype=np.float64),
    )


def assert_same_edges(
    actual: Edges | Mapping[str, Any], expected: Edges | Mapping[str, Any], atol: float = 1e-9
) -> None:
    """Assert that two results have the same edges, in any order, with the same distances.

    Parameters
    ----------
    actual, expected
        `Edges`, or samples with ``src_nodes``, ``dst_nodes``, ``images`` and ``distances``.
    atol
        Largest difference between the distances of an edge, angstrom. 1e-5 is suitable for float32.

    Raises
    ------
    AssertionError
        If an edge is missing, unexpected or duplicated, or a distance differs. The message lists some of
        these edges.
    """
    one, other = _table(actual), _table(expected)
    missing, surplus = sorted(other.keys() - one.keys()), sorted(one.keys() - other.keys())
    if missing or surplus:
        raise AssertionError(
            f"{len(missing)} edges are missing and {len(surplus)} are unexpected; (src, dst, image) "
            "and distance: "
            f"missing {[(edge, other[edge]) for edge in missing[:5]]}, "
            f"unexpected {[(edge, one[edge]) for edge in surplus[:5]]}"
        )
    for edge, distance in one.items():
        if not abs(distance - other[edge]) <= atol:
            raise AssertionError(f"edge {edge} has length {distance}, expected {other[edge]}")


def _table(edges: Edges | Mapping[str, Any]) -> dict[tuple[int, int, tuple[int, ...]], float]:
    if isinstance(edges, Mapping):
        columns = [np.asarray(edges[key]) for key in ("src_nodes", "dst_nodes", "images", "distances")]
    else:
        columns = [edges.src, edges.dst, edges.images, edges.distances]
    src, dst, images, distances = columns
    if not np.array_equal(images, np.round(images)):
        raise AssertionError("images are not integer-valued")
    rows = zip(src.tolist(), dst.tolist(), images.astype(int).tolist(), distances.tolist(), strict=True)
    table = {}
    for i, j, image, distance in rows:
        edge = (i, j, tuple(image))
        if edge in table:
            raise AssertionError(f"edge {edge} is duplicated")
        table[edge] = distance
    return table


def graphs_alike(max_graphs: int = 1) -> SearchStrategy[list[GraphData]]:
    """Draw graphs that have the same keys, so that they can be batched.

    The graphs include graphs with repeated edges, without edges, with one node, with as many nodes as edges,
    and with key names that have a meaning elsewhere.

    Parameters
    ----------
    max_graphs
        Largest number of graphs.

    Returns
    -------
    SearchStrategy
        Strategy for lists of `GraphData`. Pass them to ``mml_graphs.libraries.graph_libraries.build``.
    """
    from hypothesis import strategies as st

    names = ("pos", "force", "charge", "offsets", "weight", "edge_type", "cell", "energy", "y")
    dtypes = (torch.float32, torch.float64, torch.int64, torch.bool)
    shapes = st.sampled_from([(), (1,), (3,), (1, 3)])

    @st.composite
    def draw_graphs(draw: DrawFn) -> list[GraphData]:
        kinds = {name: draw(st.sampled_from(["node", "edge", "whole", None])) for name in names}
        dtype = {name: draw(st.sampled_from(dtypes)) for name in names}
        shape = {name: draw(shapes) for name in names}
        seed = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
        rows = draw(st.integers(1, 3))

        def values(kind: str, count: tuple[int, ...]) -> dict[str, torch.Tensor]:
            return {
                name: torch.randint(0, 9, (*count, *shape[name]), generator=seed).to(dtype[name])
                for name in names
                if kinds[name] == kind
            }

        graphs = []
        for _ in range(draw(st.integers(1, max_graphs))):
            num_nodes, num_edges = draw(st.integers(1, 3)), draw(st.integers(0, 4))
            src, dst = torch.randint(0, num_nodes, (2, num_edges), generator=seed)
            nodes, edges = values("node", (num_nodes,)), values("edge", (num_edges,))
            graphs.append(GraphData(nodes, edges, src, dst, values("whole", (rows,)), num_nodes))
        return graphs

    return draw_graphs()


def assert_same_graph(graph: Any, other: Any) -> None:
    """Assert that two graphs of PyG or DGL have equal nodes, equal edges in the same order, and equal data.

    Raises
    ------
    AssertionError
        If a part differs. The message describes the first one.
    """
    one, two = (each if isinstance(each, GraphData) else take_apart(each) for each in (graph, other))
    if one.num_nodes != two.num_nodes:
        raise AssertionError(f"numbers of nodes differ: {one.num_nodes} and {two.num_nodes}")
    for end in ("src", "dst"):
        if getattr(one, end).tolist() != getattr(two, end).tolist():
            raise AssertionError(
                f"{end} differ: {getattr(one, end).tolist()} and {getattr(two, end).tolist()}"
            )
    for field in ("nodes", "edges", "whole"):
        parts, others = getattr(one, field), getattr(two, field)
        if parts.keys() != others.keys():
            raise AssertionError(f"keys of {field} differ: {sorted(parts)} and {sorted(others)}")
        for name, value in parts.items():
            same = value == others[name]
            if isinstance(value, torch.Tensor):
                same = value.dtype == others[name].dtype and torch.equal(value, others[name])
            if not same:
                raise AssertionError(f"{field} differ in {name!r}: {value} and {others[name]}")
