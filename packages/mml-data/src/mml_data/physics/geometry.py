"""Distances and displacements in periodic structures."""

import numpy as np

from mml_data.physics.frame import Frame

__all__ = ["displacement", "embedding", "heights", "nearest", "wrapped"]

_CHUNK = 400_000  # pairs of atoms that are compared at once


def heights(cell: np.ndarray) -> np.ndarray:
    """Return the distances between opposite faces of a cell, [3], angstrom."""
    return np.asarray(1 / np.linalg.norm(np.linalg.inv(cell), axis=0))


def wrapped(pos: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> np.ndarray:
    """Return fractional coordinates, between 0 and 1 in periodic directions, [N, 3]."""
    fractions = pos @ np.linalg.inv(cell)
    return np.asarray(np.where(pbc, fractions - np.floor(fractions), fractions))


def nearest(pos: np.ndarray, cell: np.ndarray | None, pbc: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distance of each atom to its nearest atom or periodic image, and the index of that atom.

    Parameters
    ----------
    pos
        Positions, [N, 3], angstrom.
    cell
        Lattice vectors, [3, 3], or None.
    pbc
        Periodic directions, [3] bool.

    Returns
    -------
    tuple
        Distances, [N], angstrom (infinite for a single atom), and indices, [N] int64.
    """
    count = len(pos)
    found, index = np.full(count, np.inf), np.zeros(count, dtype=np.int64)
    rows = max(1, _CHUNK // max(count, 1))
    inverse = None if cell is None else np.linalg.inv(cell)
    for start in range(0, count, rows):
        part = slice(start, start + rows)
        delta = pos[None, :, :] - pos[part, None, :]
        if inverse is not None and cell is not None and pbc.any():
            fractions = delta @ inverse
            delta = delta - (np.round(fractions) * pbc) @ cell
        squares = np.einsum("ijk,ijk->ij", delta, delta)
        squares[np.arange(len(squares)), np.arange(start, start + len(squares))] = np.inf
        index[part] = squares.argmin(axis=1)
        found[part] = np.sqrt(squares.min(axis=1))
    if cell is None or not pbc.any():
        return found, index
    # The shortest difference vector after rounding is the shortest of all if it is below half of the smallest
    # height of the cell. Otherwise, further images have to be compared.
    high = np.where(pbc, heights(cell), np.inf)
    shortest = float(np.linalg.norm(cell[pbc], axis=1).min())
    far = np.flatnonzero(found >= high.min() / 2)
    if far.size:
        limit = min(float(found[far].max()), shortest)
        images = np.where(pbc, np.minimum(np.ceil(limit / high), 3), 0).astype(int)
        grid = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in images), indexing="ij"), -1).reshape(
            -1, 3
        )
        shifts = grid @ cell
        rows = max(1, _CHUNK // (count * len(shifts)))
        for start in range(0, far.size, rows):
            atoms = far[start : start + rows]
            found[atoms], index[atoms] = _compare_images(atoms, pos, cell, pbc, shifts)
    return found, index


def _compare_images(
    atoms: np.ndarray, pos: np.ndarray, cell: np.ndarray, pbc: np.ndarray, shifts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return distances and indices of the nearest atoms among images, which include the shift 0."""
    delta = pos[None] - pos[atoms, None]
    delta = delta - (np.round(delta @ np.linalg.inv(cell)) * pbc) @ cell
    vectors = delta[:, :, None, :] + shifts
    squares = np.einsum("ijkl,ijkl->ijk", vectors, vectors)
    itself = np.flatnonzero((shifts == 0).all(axis=1))
    squares[np.arange(len(atoms)), atoms, itself] = np.inf
    best = squares.min(axis=2)
    return np.sqrt(best.min(axis=1)), best.argmin(axis=1)


def displacement(first: Frame, second: Frame) -> tuple[np.ndarray, np.ndarray]:
    """Return the displacements and the strain between two structures with the same atoms.

    Returns
    -------
    tuple
        Displacements of the atoms at fixed strain, the shortest ones in periodic directions and without the
        common translation, [N, 3], angstrom; and the displacement gradient of the cell, [3, 3].
    """
    if first.cell is None or second.cell is None:
        moved = second.pos - first.pos
        return moved - moved.mean(axis=0), np.zeros((3, 3))
    middle = (first.cell + second.cell) / 2
    fractions = second.pos @ np.linalg.inv(second.cell) - first.pos @ np.linalg.inv(first.cell)
    fractions = fractions - np.round(fractions) * first.pbc
    moved = fractions @ middle
    return moved - moved.mean(axis=0), np.linalg.inv(middle) @ (second.cell - first.cell)


def embedding(frame: Frame) -> np.ndarray:
    """Return a vector whose Euclidean distances approximate displacements, summed over atoms, angstrom.

    In periodic directions, sine and cosine of the fractional coordinates replace the coordinates, so that
    atoms may cross the faces of the cell. The lattice vectors are part of the vector.
    """
    if frame.cell is None:
        return (frame.pos - frame.pos.mean(axis=0)).ravel()
    lengths = np.linalg.norm(frame.cell, axis=1) / (2 * np.pi)
    phases = 2 * np.pi * wrapped(frame.pos, frame.cell, frame.pbc)
    size = np.sqrt(len(frame.pos)) / 4
    return np.concatenate(
        [(np.cos(phases) * lengths).ravel(), (np.sin(phases) * lengths).ravel(), frame.cell.ravel() * size]
    )
