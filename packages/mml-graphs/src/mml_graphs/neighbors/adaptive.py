"""Increase the cutoff of a structure until every atom has a neighbor."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
from numpy.typing import NDArray

from mml_graphs.neighbors import native
from mml_graphs.neighbors.edges import Edges, isolated_atoms, nearest_lengths, with_exact_lengths
from mml_graphs.neighbors.find_edges import search, wrap
from mml_graphs.neighbors.lattice import Cell, reduced_cell

STEP = 0.5  # angstrom
LIMIT = 100.0  # angstrom

# Largest number of images that are examined at once to estimate the distances to the nearest neighbors.
FEW = 300_000


def adaptive_edges(
    positions: NDArray[np.float64], cell: Cell, cutoff: float, backend: str
) -> tuple[Edges, float]:
    """Find edges, with the cutoff increased to the first step at which every atom has a neighbor.

    Steps are 0.5 angstrom wide, and the last step is at 100 angstrom. The result is the same as that of
    trying one step after the other. However, the distance to the nearest neighbors is estimated first, so
    that one further search is usually enough.

    In a structure without periodic directions, atoms with no other atom within the last step are free: they
    have no edges and do not increase the cutoff. A single free atom keeps the nominal cutoff.

    Parameters
    ----------
    positions
        [N, 3], float64, angstrom.
    cell
        Completed cell.
    cutoff
        Nominal cutoff, angstrom.
    backend
        Name of the neighbor search.

    Returns
    -------
    edges, cutoff
        Edges, and the cutoff with which they were found, angstrom.

    Raises
    ------
    ValueError
        If the structure is periodic and an atom still has no neighbor at 100 angstrom (or at the nominal
        cutoff, if that is larger).
    """
    edges = search(positions, cell, cutoff, backend)
    lonely = at_first = isolated_atoms(edges, len(positions))
    is_periodic = any(cell.pbc)
    radius = cutoff
    while lonely.size:
        if radius >= LIMIT:
            if is_periodic:
                raise ValueError(_too_far(positions, cell, lonely, radius))
            break
        if lonely.size * len(positions) * 27 <= FEW:
            nearest = nearest_distances(positions, cell, lonely)
            if not is_periodic:
                nearest = nearest[nearest <= LIMIT]
                if not nearest.size:
                    break
            needed = float(nearest.max())
        else:
            needed = radius * 1.26  # twice the volume: all earlier searches together cost as much as the last
        radius = first_step(cutoff, max(needed, math.nextafter(radius, math.inf)))
        edges = search(positions, cell, radius, backend)
        lonely = isolated_atoms(edges, len(positions))
    if radius > cutoff:
        if not native.is_used(backend):  # its lengths are exact already
            edges = with_exact_lengths(positions, cell, edges)
        nearest = nearest_lengths(edges, len(positions))
        helped = nearest[at_first][np.isfinite(nearest[at_first])]
        enough = first_step(cutoff, float(helped.max(initial=0.0)))
        if enough < radius:
            radius = enough
            edges = edges.take(edges.distances <= radius)
    return edges, radius


def first_step(cutoff: float, needed: float) -> float:
    """Return the first ``cutoff + 0.5 k`` that reaches ``needed``, at most 100 or the cutoff, angstrom."""
    if needed <= cutoff:
        return cutoff
    if needed >= LIMIT:
        return max(cutoff, LIMIT)
    steps = max(math.floor((needed - cutoff) / STEP) - 1, 0)
    while cutoff + steps * STEP < needed:
        steps += 1
    return min(cutoff + steps * STEP, LIMIT)


def nearest_distances(
    positions: NDArray[np.float64], cell: Cell, atoms: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Compute the distances from some atoms to their nearest neighbors.

    For each pair of atoms, the 27 images around the nearest image in fractional coordinates of the reduced
    cell are examined.

    Parameters
    ----------
    positions
        [N, 3], float64, angstrom.
    cell
        Completed cell.
    atoms
        [M], indices of the atoms.

    Returns
    -------
    ndarray
        [M], distances, angstrom. Infinite if there is no other atom.
    """
    cell = reduced_cell(cell)
    wrapped, _ = wrap(positions, cell)
    images = np.array(
        list(product(*((-1, 0, 1) if periodic else (0,) for periodic in cell.pbc))), dtype=np.float64
    )
    shifts = images @ cell.matrix
    home = len(images) // 2
    nearest = np.empty(len(atoms))
    chunk = max(1, FEW // (len(positions) * len(images)))
    for start in range(0, len(atoms), chunk):
        some = atoms[start : start + chunk]
        vectors = wrapped[None, :, :] - wrapped[some][:, None, :]
        vectors -= (np.round(vectors @ cell.inverse) * np.array(cell.pbc)) @ cell.matrix
        squares = np.square(vectors[:, :, None, :] + shifts).sum(axis=-1)
        squares[np.arange(len(some)), some, home] = np.inf
        nearest[start : start + chunk] = np.sqrt(squares.min(axis=(1, 2)))
    return nearest


def _too_far(positions: NDArray[np.float64], cell: Cell, lonely: NDArray[np.int64], radius: float) -> str:
    needed = float(nearest_distances(positions, cell, lonely).max())
    remedy = (
        f"a cutoff of {needed:.2f} angstrom is needed"
        if math.isfinite(needed)
        else "the structure has no other atom"
    )
    return f"{name_atoms(lonely)} no neighbor within {radius:g} angstrom; {remedy}"


def name_atoms(atoms: NDArray[np.int64]) -> str:
    """Begin a sentence with the first few of the given atoms and a verb ("has" or "have")."""
    if len(atoms) == 1:
        return f"atom {atoms[0]} has"
    listed = ", ".join(map(str, atoms[:8].tolist())) + (", ..." if len(atoms) > 8 else "")
    return f"{len(atoms)} atoms ({listed}) have"
