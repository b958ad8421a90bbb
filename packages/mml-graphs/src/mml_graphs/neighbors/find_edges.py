"""Neighbor search from positions, cell and cutoff to edges, with the same result under every backend."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mml_graphs.neighbors import native
from mml_graphs.neighbors.backends import BACKENDS, candidates, choose_backend
from mml_graphs.neighbors.edges import COINCIDENT, MARGIN, Edges, check_coincident, edge_lengths
from mml_graphs.neighbors.lattice import Cell, Pbc, complete_cell

# An atom on the boundary of the cell is not moved, whichever side of it rounding (even to float32) puts it
# on.
BOUNDARY = 1e-6  # in fractional coordinates


def find_edges(
    positions: ArrayLike, cell: ArrayLike | None, pbc: Pbc, cutoff: float, backend: str = "auto"
) -> Edges:
    """Find all pairs of atoms, periodic images included, at a distance of at most ``cutoff``.

    Parameters
    ----------
    positions
        [N, 3], Cartesian positions, angstrom. Atoms may lie outside the cell.
    cell
        [3, 3], rows are the lattice vectors, angstrom. ``None`` for a molecule.
    pbc
        Periodicity along each of the three lattice vectors.
    cutoff
        Largest distance, angstrom, inclusive.
    backend
        Neighbor search: ``"auto"``, ``"native"``, ``"numpy"``, ``"pymatgen"``, ``"vesin"`` or ``"ase"``. All
        backends return the same edges. ``"auto"`` is ``"native"`` if it is available.

    Returns
    -------
    Edges
        Each pair in both directions. An atom is a neighbor of itself only in another image.

    Raises
    ------
    ValueError
        If the cutoff is not positive and finite, the backend is unknown, an array has the wrong shape or
        values that are not finite, the cell has no volume, or two atoms are at the same position.
    ImportError
        If the backend is not installed.
    """
    coordinates = np.ascontiguousarray(positions, dtype=np.float64)
    if coordinates.ndim != 2 or coordinates.shape[1] != 3 or not len(coordinates):
        raise ValueError(f"positions have shape {coordinates.shape}, expected [N, 3] with at least one atom")
    matrix = None if cell is None else np.ascontiguousarray(cell, dtype=np.float64)
    if matrix is not None and matrix.shape != (3, 3):
        raise ValueError(f"the cell has shape {matrix.shape}, expected [3, 3]")
    if not np.isfinite(coordinates).all() or (matrix is not None and not np.isfinite(matrix).all()):
        raise ValueError("positions or cell contain values that are not finite")
    check_cutoff(cutoff)
    check_backend(backend)
    return search(coordinates, complete_cell(matrix, pbc), cutoff, backend)


def check_cutoff(cutoff: float) -> None:
    """Raise a ``ValueError`` unless the cutoff is a positive finite number."""
    if isinstance(cutoff, bool) or not isinstance(cutoff, (int, float, np.number)):
        raise ValueError(f"cutoff must be a number, in angstrom, got {cutoff!r}")
    if not (math.isfinite(cutoff) and cutoff > 0):
        raise ValueError(f"cutoff must be positive and finite, in angstrom, got {cutoff!r}")


def check_backend(backend: str) -> None:
    """Raise a ``ValueError`` unless the backend is known."""
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(map(repr, BACKENDS))}, got {backend!r}")


def search(positions: NDArray[np.float64], cell: Cell, cutoff: float, backend: str) -> Edges:
    """Find edges like `find_edges`, but without checking the arguments.

    Parameters
    ----------
    positions
        [N, 3], C-contiguous float64, angstrom.
    cell
        Completed cell from `mml_graphs.neighbors.lattice.complete_cell`.
    cutoff
        Largest distance, angstrom, inclusive.
    backend
        Name of the neighbor search.

    Returns
    -------
    Edges
        Edges sorted by source atom. Those of the native search are also sorted by destination and image, and
        their lengths are from `edge_lengths`.

    Raises
    ------
    ValueError
        If two atoms are at the same position, or there are too many edges.
    ImportError
        If the backend is not installed.
    """
    name = choose_backend() if backend == "auto" else backend
    if name == "native":
        return native.find_one(positions, cell, cutoff)
    wrapped, shifts = wrap(positions, cell)
    radius = cutoff + MARGIN
    src, dst, images, distances = candidates(name, wrapped, cell, radius)

    # Backends differ by rounding. Near the cutoff, the formula of `edge_lengths` decides.
    keep = distances > COINCIDENT
    near_cutoff = distances > cutoff - MARGIN
    num_loops = len(positions) if name == "pymatgen" else 0
    if np.count_nonzero(near_cutoff) or np.count_nonzero(keep) != keep.size - num_loops:
        at_cutoff = near_cutoff.nonzero()[0]
        absolute = images if shifts is None else images + shifts.take(src, axis=0) - shifts.take(dst, axis=0)
        near = np.flatnonzero(~keep)
        check_coincident(positions, cell, src[near], dst[near], absolute[near])
        lengths = edge_lengths(positions, cell, src[at_cutoff], dst[at_cutoff], absolute[at_cutoff])
        distances[at_cutoff] = lengths
        keep[at_cutoff] = lengths <= cutoff

    if np.count_nonzero(keep) != keep.size:
        index = keep.nonzero()[0]
        src, dst = src.take(index), dst.take(index)
        images, distances = images.take(index, axis=0), distances.take(index)
    if shifts is not None:
        images += shifts.take(src, axis=0)
        images -= shifts.take(dst, axis=0)
    return Edges(src, dst, images, distances)


def wrap(
    positions: NDArray[np.float64], cell: Cell
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Move atoms into the cell along its periodic directions.

    Parameters
    ----------
    positions
        [N, 3], angstrom.
    cell
        Completed cell.

    Returns
    -------
    positions, shifts
        ``positions - shifts @ cell`` [N, 3] and the integer-valued shifts [N, 3]. If every atom is inside the
        cell already, the given positions and ``None``.
    """
    if not any(cell.pbc):
        return positions, None
    shifts = np.floor(positions @ cell.inverse + BOUNDARY)
    if not all(cell.pbc):
        shifts *= np.array(cell.pbc)
    if not shifts.any():
        return positions, None
    return positions - shifts @ cell.matrix, shifts
