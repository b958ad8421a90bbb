"""Find pairs of similar structures, whose labels must agree with each other."""

from collections import OrderedDict

import numpy as np

from mml_data.physics.frame import Frame
from mml_data.physics.geometry import displacement, embedding

__all__ = ["CLOSE", "PAIR", "PairFinder"]

CLOSE = 0.2
"""Largest rms displacement of a pair in angstrom for which the trapezoidal rule is accurate enough."""

PAIR = np.dtype(
    [
        *((name, np.int64) for name in ("first", "second", "natoms")),
        *((name, np.float64) for name in ("moved", "strain", "energy", "work", "bend", "cell_work")),
        *((name, np.bool_) for name in ("same_atoms", "same_split")),
    ]
)
"""A pair of samples.

``first`` and ``second`` are their indices. ``moved`` is the rms displacement (angstrom) and ``strain`` the
largest component of the strain. ``energy`` is the difference of the energies (eV), ``work`` the work of the
forces, ``-(F1 + F2) / 2 . dx`` (eV), and ``bend`` half of the difference between the works of the forces at
both ends, which is the largest possible error of ``work`` if the energy is convex or concave in between.
``cell_work`` is the work of the stress, ``V (s1 + s2) / 2 : e`` (eV, NaN without stress). ``same_atoms`` and
``same_split`` compare atomic numbers and splits.
"""

_ATOMS = 20_000  # atoms of the structures that are kept for comparison
_MOST = 256
_POOLS = 32
_FURTHEST = 0.8  # rms displacement in angstrom beyond which two structures are not a pair
_STRAIN = 0.05
_SAME = 1e-4


class PairFinder:
    """Find the most similar one of the previous structures with the same number of atoms."""

    def __init__(self) -> None:
        self._pools: OrderedDict[tuple[int, bool], _Pool] = OrderedDict()

    def find(self, frame: Frame) -> list[tuple[object, ...]]:
        """Return the pairs of a structure as rows of `PAIR`, and keep the structure for the following ones.

        There are at most two pairs: one with the same atomic numbers, and one with different ones.
        """
        key = (len(frame.numbers), frame.cell is not None)
        pool = self._pools.pop(key, None) or _Pool(max(2, min(_MOST, _ATOMS // key[0])))
        self._pools[key] = pool
        if len(self._pools) > _POOLS:
            self._pools.popitem(last=False)
        point = embedding(frame)
        found: dict[bool, tuple[object, ...]] = {}
        for other in pool.closest(point, _FURTHEST * np.sqrt(key[0])):
            same = bool((other.numbers == frame.numbers).all())
            if same not in found and (pair := _compare(other, frame, same)) is not None:
                found[same] = pair
        pool.add(point, frame)
        return list(found.values())


class _Pool:
    """The last structures with the same number of atoms."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._points = np.zeros((0, 0))
        self._frames: list[Frame] = []
        self._next = 0

    def closest(self, point: np.ndarray, limit: float) -> list[Frame]:
        """Return up to eight structures within a distance, the closest one first."""
        if not self._frames:
            return []
        points = self._points[: len(self._frames)]
        distances = np.sqrt(np.maximum((points**2).sum(1) - 2 * points @ point + point @ point, 0))
        order = np.argsort(distances)[:8]
        return [self._frames[at] for at in order if distances[at] <= limit]

    def add(self, point: np.ndarray, frame: Frame) -> None:
        if not self._points.size:
            self._points = np.zeros((self._size, len(point)))
        self._points[self._next] = point
        if len(self._frames) < self._size:
            self._frames.append(frame)
        else:
            self._frames[self._next] = frame
        self._next = (self._next + 1) % self._size


def _compare(first: Frame, second: Frame, same: bool) -> tuple[object, ...] | None:
    if (first.pbc != second.pbc).any():
        return None
    moved, gradient = displacement(first, second)
    rms = float(np.sqrt((moved**2).sum(1).mean()))
    strain = (gradient + gradient.T) / 2
    largest = float(np.abs(strain).max())
    identical = rms < _SAME and largest < _SAME
    if (
        rms > _FURTHEST
        or largest > _STRAIN
        or np.abs(gradient - strain).max() > _STRAIN
        or (identical and same)
    ):
        return None
    work = bend = cell_work = float("nan")
    if first.forces is not None and second.forces is not None:
        work = -0.5 * float(((first.forces + second.forces) * moved).sum())
        bend = 0.5 * abs(float(((second.forces - first.forces) * moved).sum()))
    if first.stress is not None and second.stress is not None:
        volume = (first.volume + second.volume) / 2
        cell_work = 0.5 * volume * float(((first.stress + second.stress) * strain).sum())
    return (
        first.index,
        second.index,
        len(second.numbers),
        rms,
        largest,
        second.energy - first.energy,
        work,
        bend,
        cell_work,
        same,
        first.split == second.split,
    )
