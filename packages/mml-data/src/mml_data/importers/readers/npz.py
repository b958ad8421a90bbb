"""Read NumPy archives of trajectories of one molecule: MD17, rMD17, and files with the keys of NequIP.

- MD17 (sGDML): elements ``z`` [N], positions ``R``, energies ``E``, forces ``F`` in kcal/mol and angstrom,
  or in the units ``e_unit`` and ``r_unit`` of the file.
- rMD17: ``nuclear_charges``, ``coords``, ``energies`` and ``forces`` in kcal/mol and angstrom.
- NequIP: ``atomic_numbers``, ``pos``, ``energy`` and ``forces``, which are not converted.

Positions and forces are [M, N, 3]. kcal/mol is converted to eV. MD17's ``lattice`` has the vectors in its
columns. rMD17's ``old_energies`` and ``old_forces``, the labels of MD17, are passed over; ``old_indices``
are stored as ``extra.old_index``.

Sources: http://www.sgdml.org/doc/ for MD17, the readme of https://doi.org/10.6084/m9.figshare.12672038 for
rMD17, https://nequip.readthedocs.io for NequIP.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from mml_data.importers.formats import Format
from mml_data.importers.readers.units import BOHR, HARTREE, KCAL_PER_MOL
from mml_data.importers.source import Item, Structure

__all__ = ["FORMAT", "read_npz"]

_KEYS = {
    "z": ("R", "E", "F"),
    "nuclear_charges": ("coords", "energies", "forces"),
    "atomic_numbers": ("pos", "energy", "forces"),
}
_USED = frozenset(_KEYS) | {key for keys in _KEYS.values() for key in keys}
_USED |= {"e_unit", "r_unit", "lattice", "cell", "pbc", "old_indices"}
_ENERGY_UNITS = {
    "kcal/mol": KCAL_PER_MOL,
    "ev": 1.0,
    "hartree": HARTREE,
    "ha": HARTREE,
    "kj/mol": KCAL_PER_MOL / 4.184,
}
_LENGTH_UNITS = {"ang": 1.0, "angstrom": 1.0, "bohr": BOHR}


def read_npz(path: Path) -> Iterator[Item]:
    """Yield the frames of an archive."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            frames = _Frames({name: archive[name] for name in archive.files if name in _USED})
    except (ValueError, KeyError, OSError, EOFError, BadZipFile) as error:
        yield f"{path}:frame 1", ValueError(f"the archive cannot be read: {error}")
        return
    for number in range(frames.count):
        yield f"{path}:frame {number + 1}", frames.structure(number)


class _Frames:
    """Arrays of an archive."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        elements = next((name for name in _KEYS if name in arrays and _KEYS[name][0] in arrays), None)
        if elements is None:
            raise ValueError(
                "it must have the arrays of MD17 (z, R), of rMD17 (nuclear_charges, coords) or of NequIP "
                f"(atomic_numbers, pos), got {', '.join(arrays) or 'none'}"
            )
        positions, energy, forces = _KEYS[elements]
        converted = elements != "atomic_numbers"
        per_energy = _unit(arrays, "e_unit", _ENERGY_UNITS, KCAL_PER_MOL) if converted else 1.0
        per_length = _unit(arrays, "r_unit", _LENGTH_UNITS, 1.0) if converted else 1.0
        self.numbers = np.asarray(arrays[elements])
        self.positions = np.asarray(arrays[positions], dtype=np.float64) * per_length
        if self.positions.ndim != 3 or self.positions.shape[2] != 3:
            raise ValueError(f"{positions!r} must be [M, N, 3], got {list(self.positions.shape)}")
        self.count = len(self.positions)
        self.labels: dict[str, np.ndarray] = {}
        self.atom_labels: dict[str, np.ndarray] = {}
        if energy in arrays:
            self.labels["energy"] = (
                np.asarray(arrays[energy], dtype=np.float64).reshape(self.count) * per_energy
            )
        if forces in arrays:
            self.atom_labels["forces"] = np.asarray(arrays[forces], dtype=np.float64) * (
                per_energy / per_length
            )
        cell = (
            arrays["lattice"].T * per_length
            if elements == "z" and "lattice" in arrays
            else arrays.get("cell")
        )
        self.cell = None if cell is None else np.asarray(cell, dtype=np.float64)
        self.pbc = np.asarray(arrays.get("pbc", [cell is not None] * 3), dtype=bool)
        self.old_indices = arrays.get("old_indices")

    def structure(self, number: int) -> Structure:
        """Return frame `number`."""
        extra: dict[str, Any] = {}
        if self.old_indices is not None:
            extra["old_index"] = int(self.old_indices[number])
        return {
            "atomic_numbers": _of_frame(self.numbers, number, 1),
            "positions": self.positions[number],
            "cell": None if self.cell is None else _of_frame(self.cell, number, 2),
            "pbc": [bool(flag) for flag in _of_frame(self.pbc, number, 1)],
            "labels": {name: float(values[number]) for name, values in self.labels.items()},
            "atom_labels": {name: values[number] for name, values in self.atom_labels.items()},
            "extra": extra,
        }


def _of_frame(values: np.ndarray, number: int, dimensions: int) -> np.ndarray:
    """Return the values of a frame from an array that may be common to all frames."""
    return values if values.ndim == dimensions else values[number]


def _unit(arrays: Mapping[str, np.ndarray], name: str, units: Mapping[str, float], default: float) -> float:
    if name not in arrays:
        return default
    text = str(arrays[name].item() if arrays[name].dtype.kind == "U" else arrays[name].item().decode())
    if text.strip().lower() not in units:
        raise ValueError(f"{name} must be one of {', '.join(units)}, got {text!r}")
    return units[text.strip().lower()]


FORMAT = Format(
    name="MD17 npz",
    files="md17_*.npz, rmd17_*.npz, *.npz of NequIP",
    labels="energy and forces (kcal/mol and angstrom, converted; not converted in NequIP's files)",
    matches=lambda name, head: name.endswith(".npz") and head.startswith(b"PK\x03\x04"),
    read=read_npz,
    catches_warnings=False,
)
