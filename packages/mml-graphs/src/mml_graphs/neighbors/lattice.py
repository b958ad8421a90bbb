"""Build cells from lattice parameters, and complete cells so that fractional coordinates are defined."""

from __future__ import annotations

import math
from operator import mul
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Pbc = tuple[bool, bool, bool]

# Relative volume (volume over the product of the three lengths) up to which a cell counts as flat. Coplanar
# vectors in float32 have a relative volume of about 1e-7, an angle of one degree 2e-2.
FLATTEST = 1e-6
SHORTEST = 1e-3  # angstrom

# The reduction of a cell ignores vectors that are shorter only due to rounding.
TIE = 1e-9

AFTER, BEFORE = [1, 2, 0], [2, 0, 1]  # next and previous axis, cyclic


class Cell(NamedTuple):
    """A cell that has a volume.

    Attributes
    ----------
    matrix
        [3, 3], rows are the lattice vectors, angstrom. If the given cell had no volume, the vectors of
        non-periodic directions are unit vectors normal to the periodic ones.
    inverse
        [3, 3], inverse of ``matrix``. ``positions @ inverse`` are fractional coordinates.
    pbc
        Periodicity along each of the three lattice vectors.
    """

    matrix: NDArray[np.float64]
    inverse: NDArray[np.float64]
    pbc: Pbc


def complete_cell(cell: NDArray[np.float64] | None, pbc: Pbc) -> Cell:
    """Check and invert a cell, and replace missing vectors of non-periodic directions.

    Parameters
    ----------
    cell
        [3, 3], rows are the lattice vectors, angstrom. ``None`` for a molecule.
    pbc
        Periodicity along each of the three lattice vectors.

    Returns
    -------
    Cell
        The given cell if it has a volume. Otherwise, the cell completed by unit normals.

    Raises
    ------
    ValueError
        If the periodic vectors span no volume (area, length), or a direction is periodic but there is no
        cell.
    """
    if cell is None:
        if any(pbc):
            raise ValueError(f"'pbc' is {list(pbc)}, but 'cell' is missing. Add a cell, or remove 'pbc'.")
        return Cell(np.eye(3), np.eye(3), pbc)
    inverse = _inverse(cell)
    if inverse is not None:
        return Cell(cell, inverse, pbc)
    if not all(pbc):
        matrix = with_normals(cell, pbc)
        inverse = _inverse(matrix)
        if inverse is not None:
            return Cell(matrix, inverse, pbc)
    raise ValueError(
        f"'cell' {cell.tolist()} has no volume in its periodic directions (pbc {list(pbc)}). "
        "Check that its rows are three independent lattice vectors in angstrom."
    )


def with_normals(cell: NDArray[np.float64], pbc: Pbc) -> NDArray[np.float64]:
    """Replace the vectors of non-periodic directions by unit vectors normal to the periodic ones.

    Parameters
    ----------
    cell
        [3, 3], rows are the lattice vectors, angstrom. Vectors of non-periodic directions are ignored.
    pbc
        Periodicity along each of the three lattice vectors.

    Returns
    -------
    ndarray
        [3, 3]. Not finite if the periodic vectors are zero or parallel. Without periodic directions, the unit
        matrix.
    """
    matrix = np.eye(3)
    periodic = [axis for axis in range(3) if pbc[axis]]
    matrix[periodic] = cell[periodic]
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        if len(periodic) == 1:
            a = matrix[periodic[0]]
            b, c = AFTER[periodic[0]], BEFORE[periodic[0]]
            matrix[b] = _unit_normal(a, np.eye(3)[np.abs(a).argmin()])
            matrix[c] = _unit_normal(a, matrix[b])
        elif len(periodic) == 2:
            (other,) = {0, 1, 2}.difference(periodic)
            matrix[other] = _unit_normal(matrix[AFTER[other]], matrix[BEFORE[other]])
    return matrix


def _unit_normal(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    normal = a[AFTER] * b[BEFORE] - a[BEFORE] * b[AFTER]
    unit: NDArray[np.float64] = normal / np.sqrt(np.square(normal).sum())
    return unit


def _inverse(cell: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Invert a cell, or return ``None`` if it has no volume. Plain floats are faster here than LAPACK."""
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = cell.tolist()
    ux, uy, uz = by * cz - bz * cy, bz * cx - bx * cz, bx * cy - by * cx
    volume = ax * ux + ay * uy + az * uz
    lengths = (math.hypot(ax, ay, az), math.hypot(bx, by, bz), math.hypot(cx, cy, cz))
    # A volume that is not finite fails the second comparison.
    if min(lengths) < SHORTEST or not FLATTEST * math.prod(lengths) < abs(volume) < math.inf:
        return None
    vx, vy, vz = cy * az - cz * ay, cz * ax - cx * az, cx * ay - cy * ax
    wx, wy, wz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
    return np.array([[ux, vx, wx], [uy, vy, wy], [uz, vz, wz]]) / volume


def reduced_cell(cell: Cell) -> Cell:
    """Find the shortest lattice vectors, so that near images also have small fractional coordinates.

    This is Minkowski's reduction (Nguyen and Stehle, ACM Trans. Algorithms 5, 46 (2009)): vectors are
    shortened by adding multiples of shorter vectors, until no vector can be shortened.

    Parameters
    ----------
    cell
        Completed cell.

    Returns
    -------
    Cell
        Cell in which the periodic directions have the same lattice, with vectors in order of length. The
        other directions have unit vectors normal to the periodic ones.
    """
    if not any(cell.pbc):
        return cell
    periodic = np.array(cell.pbc)
    vectors = cell.matrix[periodic].tolist()
    while True:
        vectors.sort(key=_square)
        shorter = _shorter(vectors)
        if shorter is None:
            break
        vectors[shorter[0]] = shorter[1]
    matrix = np.empty((3, 3))
    matrix[periodic] = vectors
    if not periodic.all():
        matrix = with_normals(matrix, cell.pbc)
    return Cell(matrix, np.linalg.inv(matrix).astype(np.float64, copy=False), cell.pbc)


def _shorter(vectors: list[list[float]]) -> tuple[int, list[float]] | None:
    """Return the index and the new value of a vector that others shorten, or ``None`` if there is none."""
    for long, short in ((1, 0), (2, 0), (2, 1))[: 3 if len(vectors) == 3 else len(vectors) - 1]:
        times = sum(map(mul, vectors[long], vectors[short])) / _square(vectors[short])
        if abs(times) > 0.5 + TIE:
            return long, [a - round(times) * b for a, b in zip(vectors[long], vectors[short], strict=True)]
    if len(vectors) == 3:
        for i, j in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            diagonal = [i * a + j * b + c for a, b, c in zip(*vectors, strict=True)]
            if _square(diagonal) < _square(vectors[2]) * (1 - TIE):
                return 2, diagonal
    return None


def _square(vector: list[float]) -> float:
    return sum(map(mul, vector, vector))


def cell_from_parameters(parameters: NDArray[np.float64]) -> NDArray[np.float64]:
    """Build lattice vectors from lengths and angles.

    The orientation is that of pymatgen's ``Lattice.from_parameters``: c along z, a in the x-z plane.

    Parameters
    ----------
    parameters
        [6]: a, b, c in angstrom, then alpha, beta, gamma in radians.

    Returns
    -------
    ndarray
        [3, 3], rows are the lattice vectors, angstrom.

    Raises
    ------
    ValueError
        If a length is not positive, an angle is outside (0, pi), or no cell has these angles.
    """
    a, b, c, alpha, beta, gamma = parameters.tolist()
    if min(a, b, c) <= 0:
        raise ValueError(f"lattice parameters {parameters.tolist()} contain a length that is not positive")
    if not all(0 < angle < math.pi for angle in (alpha, beta, gamma)):
        raise ValueError(
            f"lattice parameters {parameters.tolist()} contain an angle outside (0, pi). "
            "Convert angles in degrees to radians."
        )
    cos_gamma_star = (math.cos(alpha) * math.cos(beta) - math.cos(gamma)) / (math.sin(alpha) * math.sin(beta))
    if abs(cos_gamma_star) >= 1:
        raise ValueError(
            f"lattice parameters {parameters.tolist()} contain angles that are impossible in a cell"
        )
    sin_gamma_star = math.sqrt(1 - cos_gamma_star**2)
    return np.array(
        [
            [a * math.sin(beta), 0.0, a * math.cos(beta)],
            [
                -b * math.sin(alpha) * cos_gamma_star,
                b * math.sin(alpha) * sin_gamma_star,
                b * math.cos(alpha),
            ],
            [0.0, 0.0, c],
        ]
    )
