"""The compiled neighbour searches behind the backends: candidate pairs, sorted by source atom."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mml_graphs._optional import optional_module
from mml_graphs.lattice import Cell

BACKENDS = ("auto", "pymatgen", "vesin", "ase")

# pymatgen's search is the faster one up to near 1e5 atoms, where vesin draws level (measured).
VESIN_FROM = 50_000
# pymatgen's search lists 27 neighbours of each cube between its outermost atoms: this many take 100 MB.
MOST_CUBES = 500_000

Candidates = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]


def choose_backend(positions: NDArray[np.float64], radius: float) -> str:
    """Choose the faster search: pymatgen's, or vesin's for large or very sparse structures.

    Parameters
    ----------
    positions
        [N, 3], wrapped into the cell, angstrom.
    radius
        Search radius, angstrom.

    Returns
    -------
    str
        ``"pymatgen"`` or ``"vesin"``.
    """
    large = len(positions) >= VESIN_FROM or _cubes(positions, max(radius, 1.0)) > MOST_CUBES
    return "vesin" if large else "pymatgen"


def candidates(backend: str, positions: NDArray[np.float64], cell: Cell, radius: float) -> Candidates:
    """Find the pairs within a radius; whether a pair at the very radius is among them depends on the backend.

    Parameters
    ----------
    backend
        ``"pymatgen"``, ``"vesin"`` or ``"ase"``.
    positions
        [N, 3], wrapped into the cell, angstrom.
    cell
        The cell.
    radius
        Search radius, angstrom.

    Returns
    -------
    src, dst, images
        [E], [E] and [E, 3], sorted by ``src``; pairs of an atom with itself may be among them.

    Raises
    ------
    ImportError
        If the backend is not installed.
    """
    return {"pymatgen": _pymatgen, "vesin": _vesin, "ase": _ase}[backend](positions, cell, radius)


def _cubes(positions: NDArray[np.float64], width: float) -> float:
    extent = (positions.max(axis=0) - positions.min(axis=0)).tolist()
    return math.prod(length / width + 3 for length in extent)


def _pymatgen(positions: NDArray[np.float64], cell: Cell, radius: float) -> Candidates:
    module = optional_module(
        "pymatgen.optimization.neighbors", "pymatgen-core", "neighbour backend 'pymatgen'"
    )
    width = max(radius, 1.0)
    while _cubes(positions, width) > MOST_CUBES:
        width *= 1.5
    src, dst, images, _ = module.find_points_in_spheres(
        positions, positions, radius, np.array(cell.pbc, dtype=np.int64), cell.matrix, min_r=width
    )
    return src, dst, images


def _vesin(positions: NDArray[np.float64], cell: Cell, radius: float) -> Candidates:
    module = optional_module("vesin", "vesin", "neighbour backend 'vesin'")
    search = module.NeighborList(cutoff=radius, full_list=True, sorted=True, n_threads=1)
    pairs, images = search.compute(positions, cell.matrix, np.array(cell.pbc), quantities="PS", copy=False)
    src, dst = np.ascontiguousarray(pairs.T).astype(np.int64)
    return src, dst, images.astype(np.float64)


def _ase(positions: NDArray[np.float64], cell: Cell, radius: float) -> Candidates:
    module = optional_module("ase.neighborlist", "mml-graphs[ase]", "neighbour backend 'ase'")
    src, dst, images = module.primitive_neighbor_list("ijS", cell.pbc, cell.matrix, positions, radius)
    return src.astype(np.int64), dst.astype(np.int64), images.astype(np.float64)
