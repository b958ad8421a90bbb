"""Find atoms that are too close to each other, with periodic images, for many structures at once."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from mml_samples import SYMBOLS

from mml_data.physics.radii import COVALENT_RADII

__all__ = ["check_contacts", "frames_with_contacts"]

_CLOSEST = 0.3
_FACTOR = 0.4
_MOST_ATOMS = 160
_PAIRS = 1 << 14  # arrays of this size stay in the cache
_LEAST = 8
_MOST_SHIFTS = 4096
_TOLERANCE = 1.001  # of float32


def check_contacts(
    numbers: np.ndarray, positions: np.ndarray, cell: np.ndarray | None, pbc: np.ndarray
) -> None:
    """Check that no atoms are closer than 0.3 angstrom or 0.4 times the sum of their covalent radii.

    Parameters
    ----------
    numbers
        Atomic numbers, [N].
    positions
        Cartesian positions, [N, 3], angstrom.
    cell
        Lattice vectors as rows, [3, 3], angstrom, or None.
    pbc
        Periodic directions, [3].

    Raises
    ------
    ValueError
        If two atoms, or an atom and a periodic image, are too close. The message names the closest pair.
    """
    frac, lattice = _coordinates(positions[None], None if cell is None else cell[None], pbc)
    limits = np.maximum(_CLOSEST, _FACTOR * 2 * COVALENT_RADII[numbers].max())
    worst: tuple[float, int, int, float] | None = None
    for shift in _shifts(lattice, pbc, limits):
        for first in range(len(numbers)):
            delta = frac[0] - frac[0, first]
            delta = (delta - np.where(pbc, np.rint(delta), 0) + shift) @ lattice[0]
            distances = np.sqrt((delta**2).sum(axis=1))
            if not shift.any():
                distances[first] = np.inf
            limit = np.maximum(_CLOSEST, _FACTOR * (COVALENT_RADII[numbers] + COVALENT_RADII[numbers[first]]))
            second = int(np.argmin(distances / limit))
            ratio = float(distances[second] / limit[second])
            if ratio < 1 and (worst is None or ratio < worst[0]):
                worst = ratio, first, second, float(distances[second])
    if worst is not None:
        _, first, second, distance = worst
        first, second = sorted((first, second))
        symbols = SYMBOLS[numbers[first]], SYMBOLS[numbers[second]]
        who = (
            f"atoms {first} and {second} ({symbols[0]} and {symbols[1]}) are"
            if first != second
            else f"atom {first} ({symbols[0]}) and its periodic image are"
        )
        raise ValueError(
            f"{who} {distance:.3g} angstrom apart; correct the structure or its units (--units length=...), "
            "or allow close atoms with allow_close=True (--allow-close)"
        )


def frames_with_contacts(
    numbers: Sequence[np.ndarray],
    positions: Sequence[np.ndarray],
    cells: Sequence[np.ndarray | None],
    pbc: Sequence[np.ndarray],
) -> list[int]:
    """Return the indices of the structures for which `check_contacts` could raise an error.

    The distances are computed for all structures with the same number of atoms at once, in float32.

    Raises
    ------
    ValueError
        If the lattice planes of a structure are so close that this takes too long.
    """
    groups: dict[tuple[int, bool, bytes], list[int]] = {}
    for index, (each, cell, flags) in enumerate(zip(numbers, cells, pbc, strict=True)):
        groups.setdefault((len(each), cell is None, flags.tobytes()), []).append(index)
    found: list[int] = []
    for (num_atoms, is_molecule, _), members in groups.items():
        size = max(_LEAST, 2 * _PAIRS // num_atoms**2)
        for start in range(0, len(members), size):
            some = members[start : start + size]
            frac, lattice = _coordinates(
                np.stack([positions[index] for index in some]),
                None if is_molecule else np.stack([cells[index] for index in some]),  # type: ignore[misc]
                pbc[some[0]],
            )
            kinds = np.stack([numbers[index] for index in some])
            close = _are_close(kinds, frac, lattice, pbc[some[0]])
            found += [some[row] for row in np.flatnonzero(close)]
    return sorted(found)


def _coordinates(
    positions: np.ndarray, cells: np.ndarray | None, pbc: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return coordinates [B, N, 3] and the vectors [B, 3, 3] that they multiply.

    They are fractional in the periodic directions. Directions that are not periodic are completed.
    """
    if cells is None or not pbc.any():
        return positions, np.broadcast_to(np.eye(3), (len(positions), 3, 3))
    lattice = np.array(cells, dtype=np.float64)
    if not pbc.all():
        # Any vector with a component normal to the periodic ones completes the basis.
        for number in range(len(lattice)):
            lattice[number] = _completed(lattice[number], pbc)
    return positions @ np.linalg.inv(lattice), lattice


def _completed(cell: np.ndarray, pbc: np.ndarray) -> np.ndarray:
    """Replace the vectors that are not periodic by unit vectors normal to the periodic ones."""
    _, _, normal = np.linalg.svd(cell[pbc])
    result = cell.copy()
    result[~pbc] = normal[pbc.sum() :]
    return result


def _shifts(lattice: np.ndarray, pbc: np.ndarray, limit: float) -> list[np.ndarray]:
    """Return the lattice translations that can bring an image within `limit` of an atom.

    Coordinates are wrapped to [-1/2, 1/2]. An image at a distance d has a fractional coordinate of at most
    d / h, in which h is the distance between two lattice planes.
    """
    heights = 1 / np.linalg.norm(np.linalg.inv(lattice), axis=1).max(axis=0)
    reach = np.where(pbc, np.clip(np.ceil(limit / heights - 0.5), 0, _MOST_SHIFTS), 0).astype(int)
    if (2 * reach + 1).prod() > _MOST_SHIFTS:
        raise ValueError(
            f"lattice planes are {heights[pbc].min():.2g} angstrom apart, so that atoms can be close to many "
            "images; correct the cell, reduce it, or allow close atoms with allow_close=True (--allow-close)"
        )
    grid = np.meshgrid(*(np.arange(-each, each + 1) for each in reach), indexing="ij")
    return list(np.stack(grid, axis=-1).reshape(-1, 3))


def _are_close(numbers: np.ndarray, frac: np.ndarray, lattice: np.ndarray, pbc: np.ndarray) -> np.ndarray:
    """Return for each of B structures whether any two atoms, or images, are too close, [B] bool."""
    same = bool((numbers == numbers[0]).all())
    radii = (_FACTOR * COVALENT_RADII)[numbers[:1] if same else numbers].astype(np.float32)
    limit = max(_CLOSEST, 2 * float(radii.max()))
    num_atoms = frac.shape[1]
    if num_atoms > _MOST_ATOMS:
        return np.array([_is_close_sorted(*each, pbc) for each in zip(numbers, frac, lattice, strict=True)])
    # Arrays are [pairs, B]. Large coordinates would lose digits in float32.
    first, second = _pairs(num_atoms)
    origin = np.where(pbc, np.floor(frac), frac.mean(axis=1, keepdims=True))
    near = np.ascontiguousarray((frac - origin).transpose(2, 1, 0), dtype=np.float32)
    by_atom = np.ascontiguousarray(radii.T)
    limits = by_atom.take(first, 0)
    limits += by_atom.take(second, 0)
    np.maximum(limits, _CLOSEST, out=limits)
    limits *= limits
    limits *= _TOLERANCE**2
    deltas = []
    for axis in range(3):
        delta = near[axis].take(second, 0)
        delta -= near[axis].take(first, 0)
        if pbc[axis]:
            delta -= np.rint(delta)
        deltas.append(delta)
    metric = lattice @ lattice.transpose(0, 2, 1)
    form = metric.transpose(1, 2, 0).astype(np.float32)
    close = np.zeros(len(frac), dtype=bool)
    for shift in _shifts(lattice, pbc, limit):
        if shift.any():
            lengths = np.einsum("i,bij,j->b", shift, metric, shift)
            close |= lengths < np.maximum(_CLOSEST, 2 * radii.max(axis=1)) ** 2 * _TOLERANCE
        x, y, z = (delta + each for delta, each in zip(deltas, shift.tolist(), strict=True))
        close |= (_squares(x, y, z, form) < limits).any(axis=0)
    return close


@cache
def _pairs(num_atoms: int) -> tuple[np.ndarray, np.ndarray]:
    return np.triu_indices(num_atoms, 1)


def _squares(x: np.ndarray, y: np.ndarray, z: np.ndarray, form: np.ndarray) -> np.ndarray:
    """Return the squared lengths of fractional vectors [pairs, B], with the metric tensor [3, 3, B]."""
    squares = x * form[0, 0]
    if form[0, 1:].any():
        squares += 2 * (y * form[0, 1] + z * form[0, 2])
    squares *= x
    rest = y * form[1, 1]
    if form[1, 2].any():
        rest += 2 * form[1, 2] * z
    rest *= y
    squares += rest
    rest = z * z
    rest *= form[2, 2]
    squares += rest
    return squares


def _is_close_sorted(numbers: np.ndarray, frac: np.ndarray, lattice: np.ndarray, pbc: np.ndarray) -> bool:
    """Return whether atoms of one large structure are too close: compare atoms in the same thin slab."""
    radii = _FACTOR * COVALENT_RADII[numbers]
    limit = max(_CLOSEST, 2 * float(radii.max()))
    shifts = _shifts(lattice[None], pbc, limit)
    heights = 1 / np.linalg.norm(np.linalg.inv(lattice), axis=0)
    axis = int(np.argmax(np.where(np.isfinite(heights), heights * np.ptp(frac, axis=0), 0)))
    wrapped = np.where(pbc, frac - np.floor(frac), frac)
    order = np.argsort(wrapped[:, axis])
    frac, radii = wrapped[order], radii[order]
    for step in range(1, len(frac)):
        delta = np.roll(frac, -step, axis=0) - frac
        gap = delta[:, axis] % 1 if pbc[axis] else np.where(delta[:, axis] >= 0, delta[:, axis], np.inf)
        if gap.min() * heights[axis] > limit:
            return False
        delta -= np.where(pbc, np.rint(delta), 0)
        least = np.maximum(_CLOSEST, radii + np.roll(radii, -step)) * _TOLERANCE
        for shift in shifts:
            if (np.square((delta + shift) @ lattice).sum(axis=1) < least**2).any():
                return True
    return False
