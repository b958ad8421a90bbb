"""Read systems of DeePMD-kit and dpdata: a folder with ``type.raw`` and the folders ``set.*``.

The folder has ``type.raw`` (types of the atoms, [N]), ``type_map.raw`` (symbols of the types) and, for a
molecule, ``nopbc``. Each ``set.*`` has ``coord.npy`` [M, 3N] (angstrom), ``box.npy`` [M, 9] (angstrom),
``energy.npy`` [M] (eV), ``force.npy`` [M, 3N] (eV/angstrom) and ``virial.npy`` [M, 9] (eV); mixed types are
in ``real_atom_types.npy`` [M, N], -1 for virtual atoms. Without ``set.*``, the same arrays are text:
``coord.raw`` ... The label ``stress`` is -virial / volume. Other arrays with M rows keep their names and
units.

Sources: https://docs.deepmodeling.com/projects/deepmd/en/stable/data/system.html and
https://docs.deepmodeling.com/projects/dpdata/en/master/formats.html.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from mml_samples import atomic_number

from mml_data.importers.formats import Format
from mml_data.importers.readers.units import stress_from_virial
from mml_data.importers.source import Item, Structure

__all__ = ["FORMAT", "read_system"]

_KNOWN = ("coord", "box", "energy", "force", "virial", "real_atom_types")
_FILES = ("type.raw", "type_map.raw", "nopbc")


def read_system(folder: Path) -> Iterator[Item]:
    """Yield the frames of a system, set by set."""
    try:
        types = np.loadtxt(folder / "type.raw", dtype=np.int64, ndmin=1)
        symbols = (folder / "type_map.raw").read_text().split() if (folder / "type_map.raw").exists() else []
    except (ValueError, OSError) as error:
        yield str(folder), ValueError(f"the types cannot be read: {error}")
        return
    periodic = not (folder / "nopbc").exists()
    for part in _sets(folder) or [folder]:
        try:
            arrays = _arrays(part)
            frames = [
                _frame(arrays, number, types, symbols, periodic) for number in range(len(arrays["coord"]))
            ]
        except (ValueError, KeyError, OSError, EOFError) as error:
            yield str(part), ValueError(f"the set cannot be read: {_reason(error)}")
            continue
        for number, frame in enumerate(frames, 1):
            yield f"{part}:frame {number}", frame


def _sets(folder: Path) -> list[Path]:
    return sorted(part for part in folder.glob("set.*") if part.is_dir())


def _arrays(part: Path) -> dict[str, np.ndarray]:
    files = sorted(part.glob("*.npy"))
    if files:
        return {file.stem: np.load(file, allow_pickle=False) for file in files}
    return {
        name: np.loadtxt(part / f"{name}.raw", ndmin=2) for name in _KNOWN if (part / f"{name}.raw").exists()
    }


def _frame(
    arrays: Mapping[str, np.ndarray], number: int, types: np.ndarray, symbols: list[str], periodic: bool
) -> Structure:
    count = len(arrays["coord"])
    kinds = arrays["real_atom_types"][number] if "real_atom_types" in arrays else types
    real = kinds >= 0
    cell = arrays["box"][number].reshape(3, 3).astype(np.float64) if periodic and "box" in arrays else None
    if periodic and cell is None:
        raise ValueError("there is no box.npy, and no file 'nopbc' that marks a molecule")
    structure: Structure = {
        "atomic_numbers": _elements(kinds[real], symbols),
        "positions": arrays["coord"][number].reshape(-1, 3)[real].astype(np.float64),
        "cell": cell,
        "pbc": [periodic] * 3,
        "labels": {},
        "atom_labels": {},
    }
    if "energy" in arrays:
        structure["labels"]["energy"] = float(arrays["energy"].reshape(-1)[number])
    if "force" in arrays:
        structure["atom_labels"]["forces"] = arrays["force"][number].reshape(-1, 3)[real].astype(np.float64)
    if "virial" in arrays and cell is not None:
        structure["labels"]["stress"] = stress_from_virial(arrays["virial"][number], cell)
    for name, values in arrays.items():
        if name not in _KNOWN and len(values) == count:
            structure["labels"][name] = values[number]
    return structure


def _elements(kinds: np.ndarray, symbols: list[str]) -> list[int]:
    if kinds.size and kinds.max() >= len(symbols):
        raise ValueError(
            f"type_map.raw must name the elements of the types 0 to {int(kinds.max())}, "
            f"got {len(symbols)} symbols"
        )
    return [atomic_number(symbols[int(kind)]) for kind in kinds]


def _reason(error: Exception) -> str:
    return f"there is no {error.args[0]}.npy" if isinstance(error, KeyError) else str(error)


def _folder(folder: Path, names: frozenset[str]) -> frozenset[str]:
    if "type.raw" not in names or not (_sets(folder) or "coord.raw" in names):
        return frozenset()
    sets = {part.name for part in _sets(folder)}
    return names & {*_FILES, *sets, *(f"{name}.raw" for name in _KNOWN)}


FORMAT = Format(
    name="DeePMD",
    files="folders with type.raw, type_map.raw and set.*/*.npy or *.raw",
    labels="energy (eV), forces (eV/angstrom), virial (eV, converted to stress)",
    matches=lambda name, head: False,
    read=read_system,
    folder=_folder,
    catches_warnings=False,
)
