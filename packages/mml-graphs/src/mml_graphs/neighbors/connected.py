"""Increase the cutoff of a crystal until all atoms and all of their images form one connected graph."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
from numpy.typing import NDArray

from mml_graphs.neighbors.adaptive import LIMIT, adaptive_edges, first_step
from mml_graphs.neighbors.connectivity import (
    Connection,
    connect,
    connects_more,
    directions_apart,
    unconnected,
)
from mml_graphs.neighbors.edges import Edges, with_exact_lengths
from mml_graphs.neighbors.find_edges import search
from mml_graphs.neighbors.lattice import Cell, reduced_cell

GROWTH = 1.26  # twice the volume: all earlier searches together cost as much as the last

# An estimate from some pairs takes about as long as a search that finds half as many edges (measured), and
# hardly any time with FEW pairs. MANY pairs are examined only after everything else has failed, so that the
# error message can report the necessary cutoff.
FEW, MANY = 2_000, 2_000_000


def connected_edges(
    positions: NDArray[np.float64], cell: Cell, cutoff: float, backend: str
) -> tuple[Edges, float]:
    """Find edges, with the cutoff increased to the first step at which all atoms and images are connected.

    Steps, arguments and result are the same as in `adaptive_edges`. A connected graph also gives every
    atom a neighbor.

    Raises
    ------
    ValueError
        If the graph is not connected at 100 angstrom (or at the nominal cutoff, if that is larger). The
        message names the parts that are not connected.
    """
    if len(positions) == 1 and not any(cell.pbc):
        return adaptive_edges(positions, cell, cutoff, backend)  # a free atom has no edges
    found = unconnected(len(positions))
    radius, bound = cutoff, math.inf
    while True:
        edges = search(positions, cell, radius, backend)
        more = edges.take(connects_more(edges, found))
        found = connect(with_exact_lengths(positions, cell, more), cell.pbc, found)
        if math.isfinite(found.length):
            break
        if radius >= LIMIT:
            raise ValueError(_too_far(positions, cell, found, radius))
        if math.isinf(bound):
            bound = _estimate(positions, cell, found, reach=1, most=min(max(FEW, 2 * len(edges.src)), MANY))
        radius = first_step(cutoff, bound if radius < bound < math.inf else radius * GROWTH)
    enough = first_step(cutoff, found.length)
    if enough < radius:
        radius = enough
        edges = with_exact_lengths(positions, cell, edges)
        edges = edges.take(edges.distances <= radius)
    return edges, radius


def _estimate(positions: NDArray[np.float64], cell: Cell, found: Connection, reach: int, most: int) -> float:
    """Compute an upper bound of the connecting length from the nearest images of each atom.

    These are the images around the nearest image in fractional coordinates of the reduced cell. If there is a
    lattice vector t such that both t and d - t are shorter than an edge d, the crystal is connected without
    d. In the reduced cell, this leaves only edges whose fractional coordinates are below 2.5. A reach of two
    images is therefore exact, and a reach of one image is exact in most cases.

    Returns
    -------
    float
        Length, angstrom. Infinite if there are more pairs than ``most``.
    """
    num_atoms, periodic = len(positions), np.array(cell.pbc)
    around = np.array(list(product(*(range(-reach, reach + 1) if each else (0,) for each in cell.pbc))))
    if num_atoms * (num_atoms + 1) // 2 * len(around) > most:
        return math.inf
    reduced = reduced_cell(cell)
    to_given = np.round(reduced.matrix @ cell.inverse * periodic)
    src, dst = np.triu_indices(num_atoms)
    nearest = -np.round((positions[dst] - positions[src]) @ reduced.inverse) * periodic
    images = ((nearest @ to_given)[:, None] + around @ to_given).reshape(-1, 3)
    src, dst = src.repeat(len(around)), dst.repeat(len(around))
    edges = Edges(src, dst, images, np.empty(len(src)))
    more = edges.take(connects_more(edges, found))
    return connect(with_exact_lengths(positions, cell, more), cell.pbc, found).length


def _too_far(positions: NDArray[np.float64], cell: Cell, found: Connection, radius: float) -> str:
    firsts = np.unique(found.parts, return_index=True)[1]
    if len(firsts) > 1:
        atoms = ", ".join(map(str, np.sort(firsts)[:8].tolist())) + (", ..." if len(firsts) > 8 else "")
        what = f"the {len(firsts)} parts of the structure around atoms {atoms} are not connected"
    else:
        along = " and ".join("abc"[axis] for axis in directions_apart(found, cell.pbc))
        what = f"atom 0 is not connected to its images along {along}"
    needed = _estimate(positions, cell, found, reach=2, most=MANY)
    remedy = f"; a cutoff of {needed:.2f} angstrom is needed" if math.isfinite(needed) else ""
    return f"{what} within {radius:g} angstrom{remedy}"
