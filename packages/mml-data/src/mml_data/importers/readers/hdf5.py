"""Read the HDF5 files of SPICE, ANI-1, ANI-1x and ANI-2x: groups with the conformations of one molecule.

- SPICE (https://github.com/openmm/spice-dataset, downloader/README.md): ``atomic_numbers`` [N],
  ``conformations`` [M, N, 3], ``dft_total_energy`` [M], ``dft_total_gradient`` [M, N, 3] and others, in
  atomic units (bohr, hartree).
- ANI-1x (Smith et al., Sci. Data 7, 134, 2020): ``atomic_numbers`` [N], ``coordinates`` [M, N, 3] in
  angstrom, and energies and forces at several levels of theory in hartree and hartree/angstrom
  (``wb97x_dz.energy``, ``wb97x_dz.forces``, ``ccsd(t)_cbs.energy`` ...), NaN if they were not calculated.
  They keep their names, so that the user chooses a level.
- ANI-1 and ANI-2x (https://github.com/isayev/ANI1_dataset, https://doi.org/10.5281/zenodo.10108942):
  ``species`` (symbols [N], or atomic numbers [M, N]), ``coordinates`` in angstrom, ``energies`` in hartree
  and ``forces`` in hartree/angstrom. ANI-1's ``coordinatesHE`` and ``energiesHE`` are passed over.

Energies become eV, forces (the negative of gradients) eV/angstrom, dipoles e*angstrom. Other arrays keep
their names and units.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from mml_samples import atomic_number

from mml_data.importers.formats import Format
from mml_data.importers.readers.units import BOHR, HARTREE
from mml_data.importers.source import Item

__all__ = ["FORMAT", "read_hdf5"]

_STANDARD = {
    "dft_total_energy": ("energy", HARTREE),
    "dft_total_gradient": ("forces", -HARTREE / BOHR),
    "formation_energy": ("formation_energy", HARTREE),
    "scf_dipole": ("dipole", BOHR),
    "energies": ("energy", HARTREE),
    "forces": ("forces", HARTREE),
}
_PER_MOLECULE = ("dipole", "quadrupole", "energy")
_STRUCTURE = (
    "atomic_numbers",
    "species",
    "conformations",
    "coordinates",
    "subset",
    "smiles",
    "coordinatesHE",
    "energiesHE",
)


def read_hdf5(path: Path) -> Iterator[Item]:
    """Yield the conformations of all molecules in a file."""
    try:
        import h5py
    except ImportError as error:
        raise ImportError(
            f"reading {str(path)!r} requires h5py, which is not installed: pip install 'mml-data[hdf5]'"
        ) from error
    try:
        with h5py.File(path) as file:
            molecules = _molecules(file, h5py.Group)
            found = False
            for name, group in molecules:
                found = True
                yield from _conformations(f"{path}:{name}", name, group)
            if not found:
                yield (
                    str(path),
                    ValueError(
                        "no group has 'conformations' (SPICE) or 'coordinates' (ANI), and 'atomic_numbers' "
                        "or 'species'; "
                        f"the top level has {', '.join(list(file)[:5]) or 'nothing'}"
                    ),
                )
    except OSError as error:
        yield str(path), ValueError(f"the file is damaged or truncated: {error}")


def _molecules(group: Any, kind: Any) -> Iterator[tuple[str, Any]]:
    for member in group.values():
        if isinstance(member, kind):
            if ("conformations" in member or "coordinates" in member) and (
                "atomic_numbers" in member or "species" in member
            ):
                yield member.name.lstrip("/"), member
            else:
                yield from _molecules(member, kind)


def _conformations(place: str, name: str, group: Any) -> Iterator[Item]:
    try:
        spice = "conformations" in group
        positions = np.asarray(group["conformations" if spice else "coordinates"], dtype=np.float64)
        numbers = _numbers(group)
        positions = positions * (BOHR if spice else 1.0)
        count = len(positions)
        arrays = dict(_arrays(group, positions.shape))
        extra = {key: _text(group[key]) for key in ("subset", "smiles") if key in group}
    except (KeyError, ValueError, TypeError, OSError) as error:
        yield place, ValueError(f"the group cannot be read: {error}")
        return
    for number in range(count):
        labels: dict[str, Any] = {}
        atom_labels: dict[str, Any] = {}
        for key, (values, per_atom) in arrays.items():
            value = values[number]
            if not np.isnan(value).all():
                (atom_labels if per_atom else labels)[key] = value if value.ndim else float(value)
        yield (
            f"{place}:{number + 1}",
            {
                "atomic_numbers": numbers if numbers.ndim == 1 else numbers[number],
                "positions": positions[number],
                "cell": None,
                "pbc": [False] * 3,
                "labels": labels,
                "atom_labels": atom_labels,
                "extra": extra | {"molecule": name},
            },
        )


def _arrays(group: Any, shape: tuple[int, ...]) -> Iterator[tuple[str, tuple[np.ndarray, bool]]]:
    """Yield the converted arrays with one value for each conformation, and whether they are per atom."""
    for key, dataset in group.items():
        if key in _STRUCTURE or not hasattr(dataset, "shape") or dataset.shape[:1] != shape[:1]:
            continue
        values = np.asarray(dataset)
        if values.dtype.kind not in "fiu":
            continue
        per_atom = values.ndim > 1 and values.shape[1] == shape[1] and not key.endswith(_PER_MOLECULE)
        name, factor = _STANDARD.get(key, (key, _factor(key)))
        yield name, (values.astype(np.float64) * factor, per_atom)


def _factor(key: str) -> float:
    return HARTREE if key.endswith((".energy", ".corr_energy", ".forces")) else 1.0


def _numbers(group: Any) -> np.ndarray:
    values = np.asarray(group["atomic_numbers" if "atomic_numbers" in group else "species"])
    if values.dtype.kind in "SUO":
        return np.array([atomic_number(_text(value)) for value in values])
    return values.astype(np.int64)


def _text(value: Any) -> str:
    item = np.asarray(value).reshape(-1)
    first = item[0] if item.size else ""
    return first.decode() if isinstance(first, bytes) else str(first)


FORMAT = Format(
    name="SPICE and ANI HDF5",
    files="SPICE-*.hdf5, ani1x-release.h5, ani_gdb_s*.h5, *.h5 of ANI-2x",
    labels=(
        "energy (hartree, converted), forces (converted; SPICE: from dft_total_gradient), formation_energy, "
        "dipole; ANI-1x: energies and forces of each level with their own names, converted"
    ),
    matches=lambda name, head: head.startswith(b"\x89HDF\r\n\x1a\n"),
    read=read_hdf5,
    requires="hdf5",
    catches_warnings=False,
)
