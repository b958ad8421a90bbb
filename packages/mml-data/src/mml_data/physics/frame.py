"""The parts of a sample that the checks read, in float64."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Frame", "to_frame"]

_GROUPS = ("config_type", "group", "head", "level_of_theory", "functional", "family", "source")


@dataclass(frozen=True)
class Frame:
    """One structure with its labels.

    Attributes
    ----------
    index
        Index of the sample in the data set.
    split
        Name of its split, or an empty string.
    numbers
        Atomic numbers, [N] int64.
    pos
        Cartesian positions, [N, 3], angstrom.
    cell
        Lattice vectors as rows, [3, 3], angstrom. Unit normals replace the missing vectors of a slab or wire.
        None if the periodic vectors are missing or not independent.
    pbc
        Periodic directions, [3] bool. All false without a cell.
    claimed
        Periodic directions that the sample declares, [3] bool.
    energy
        Total energy in eV, or NaN.
    forces
        Forces, [N, 3], eV/angstrom, or None if missing.
    stress
        Stress, [3, 3], eV/angstrom^3 with the sign of ASE, or None if missing.
    targets, extra
        All targets and all other data of the sample.
    fixed
        Constrained atoms, [N] bool, or None.
    keys
        Optional keys of the sample: ``charge``, ``spin`` and ``magmom``.
    """

    index: int
    split: str
    numbers: np.ndarray
    pos: np.ndarray
    cell: np.ndarray | None
    pbc: np.ndarray
    claimed: np.ndarray
    energy: float
    forces: np.ndarray | None
    stress: np.ndarray | None
    targets: Mapping[str, Any]
    extra: Mapping[str, Any]
    fixed: np.ndarray | None
    keys: Mapping[str, Any]

    @property
    def volume(self) -> float:
        """Volume of the cell in angstrom^3, or NaN without a cell."""
        return float("nan") if self.cell is None else abs(float(np.linalg.det(self.cell)))

    @property
    def source(self) -> str:
        """File from which the sample was imported, or an empty string."""
        return str(self.extra.get("source", ""))

    @property
    def groups(self) -> dict[str, str]:
        """Text values under ``extra`` that can name groups of samples, such as ``config_type``."""
        return {key: str(self.extra[key]) for key in _GROUPS if isinstance(self.extra.get(key), str | int)}


def to_frame(index: int, sample: Mapping[str, Any], split: str = "") -> Frame:
    """Return the frame of a sample as stored."""
    numbers = np.asarray(sample["atomic_numbers"]).astype(np.int64).reshape(-1)
    pos = np.asarray(sample["pos"], dtype=np.float64).reshape(-1, 3)
    cell = sample.get("cell")
    if cell is not None:
        cell = np.asarray(cell, dtype=np.float64).reshape(3, 3)
    default = cell is not None
    claimed = np.asarray(sample.get("pbc", (default,) * 3)).astype(bool).reshape(3)
    if cell is not None and not abs(np.linalg.det(cell)) > 1e-6:
        cell = _completed(cell, claimed)
    targets = sample.get("targets") or {}
    extra = sample.get("extra")
    fixed = sample.get("fixed")
    return Frame(
        index=index,
        split=split,
        numbers=numbers,
        pos=pos,
        cell=cell,
        pbc=claimed if cell is not None else np.zeros(3, dtype=bool),
        claimed=claimed,
        energy=_number(targets.get("energy")),
        forces=_array(targets.get("force", targets.get("forces")), (len(numbers), 3)),
        stress=_array(targets.get("stress"), (3, 3)),
        targets=targets,
        extra=extra if isinstance(extra, Mapping) else {},
        fixed=None if fixed is None else np.asarray(fixed).astype(bool).reshape(-1),
        keys={key: sample[key] for key in ("charge", "spin", "magmom") if sample.get(key) is not None},
    )


def _completed(cell: np.ndarray, pbc: np.ndarray) -> np.ndarray | None:
    """Replace the vectors of the directions that are not periodic by unit normals to the periodic ones.

    Returns None if no direction is periodic or the periodic vectors are not independent.
    """
    periodic = cell[pbc]
    if not len(periodic) or np.linalg.matrix_rank(periodic, tol=1e-6) < len(periodic):
        return None
    completed = cell.copy()
    completed[~pbc] = np.linalg.svd(periodic)[2][len(periodic) :]
    return completed


def _number(value: object) -> float:
    array = np.asarray(float("nan") if value is None else value, dtype=np.float64)
    return float(array.reshape(())) if array.size == 1 else float("nan")


def _array(value: object, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return a label as an array. None if it is missing or not finite, which another check reports."""
    if value is None:
        return None
    array = np.asarray(value, dtype=np.float64)
    if array.size != np.prod(shape) or not np.isfinite(array).all():
        return None
    return array.reshape(shape)
