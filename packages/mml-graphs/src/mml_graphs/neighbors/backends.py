"""Call the neighbor searches of the backends, which return candidate pairs sorted by source atom."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
from mml_samples import optional_module
from numpy.typing import NDArray

from mml_graphs.neighbors import native
from mml_graphs.neighbors.lattice import Cell, Pbc
from mml_graphs.neighbors.linked_cells import binned_neighbors

BACKENDS = ("auto", "native", "numpy", "pymatgen", "vesin", "ase")

# pymatgen's search lists 27 neighbors of each cube between its outermost atoms. This many cubes take 100 MB.
MOST_CUBES = 500_000

Candidates = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.floating[Any]], NDArray[np.float64]]


@cache
def choose_backend() -> str:
    """Return ``"native"`` if it is available, else ``"pymatgen"`` if that is installed, else ``"numpy"``."""
    if native.available():
        return "native"
    return "pymatgen" if _is_installed("pymatgen.optimization.neighbors") else "numpy"


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the package that contains the module is missing
        return False


def candidates(backend: str, positions: NDArray[np.float64], cell: Cell, radius: float) -> Candidates:
    """Find the pairs within a radius. The backend decides whether pairs at exactly the radius are included.

    Parameters
    ----------
    backend
        ``"numpy"``, ``"pymatgen"``, ``"vesin"`` or ``"ase"``. (`native.find_one` needs no candidates.)
    positions
        [N, 3], wrapped into the cell, angstrom.
    cell
        Completed cell.
    radius
        Search radius, angstrom.

    Returns
    -------
    src, dst, images, distances
        [E], [E], [E, 3] and [E], sorted by ``src``, as writable arrays. With ``"pymatgen"`` only, each atom
        is also paired with itself, at a distance of zero.

    Raises
    ------
    ImportError
        If the backend is not installed.
    """
    return _SEARCHES[backend](positions, cell, radius)


def _too_many_cubes(positions: NDArray[np.float64], width: float) -> bool:
    """Return whether the box around the atoms has more cubes than pymatgen's search should list."""
    if (float(positions.max() - positions.min()) / width + 3) ** 3 <= MOST_CUBES:
        return False  # bounds all three sides by one number, in a third of the time
    extent = (positions.max(axis=0) - positions.min(axis=0)).tolist()
    return math.prod(length / width + 3 for length in extent) > MOST_CUBES


def _pymatgen(positions: NDArray[np.float64], cell: Cell, radius: float) -> Candidates:
    width = max(radius, 1.0)
    while _too_many_cubes(positions, width):
        width *= 1.5
    found: Candidates = _compiled_search()(
        positions, positions, radius, _periodic_flags(cell.pbc), cell.matrix, min_r=width
    )
    return found


@cache
def _compiled_search() -> Callable[..., Candidates]:
    """Return pymatgen's ``find_points_in_spheres``, imported on first use.

    Raises
    ------
    ImportError
        If pymatgen is not installed.
    """
    module = optional_module(
        "pymatgen.optimization.neighbors", "mml-graphs[pymatgen]", "neighbor backend 'pymatgen'"
    )
    search: Callable[..., Candidates] = module.find_points_in_spheres
    return search


@cache
def _periodic_flags(pbc: Pbc) -> NDArray[np.int64]:
    """Return the periodic directions in the form that `_compiled_search` expects."""
    return np.array(pbc, dtype=np.int64)


def _vesin(positions: NDArray[np.float64], cell: Cell, radius: float) -> Candidates:
    module = optional_module("vesin", "mml-graphs[vesin]", "neighbor backend 'vesin'")
    search = module.NeighborList(cutoff=radius, full_list=True, sorted=True, n_threads=1)
    pairs, images, distances = search.compute(
        positions, cell.matrix, np.array(cell.pbc), quantities="PSd", copy=False
    )
    src, dst = pairs.astype(np.int64, copy=False).T
    # The arrays belong to vesin and are copied. Images are whole numbers that float32 represents exactly.
    return src.copy(), dst.copy(), images.astype(np.float32), distances.copy()


def _ase(positions: NDArray[np.float64], cell: Cell, radius: float) -> Candidates:
    module = optional_module("ase.neighborlist", "mml-graphs[ase]", "neighbor backend 'ase'")
    src, dst, images, distances = module.primitive_neighbor_list(
        "ijSd", cell.pbc, cell.matrix, positions, radius
    )
    return src.astype(np.int64), dst.astype(np.int64), images.astype(np.float64), distances


_SEARCHES = {"numpy": binned_neighbors, "pymatgen": _pymatgen, "vesin": _vesin, "ase": _ase}
