"""Read the JSON database of ASE (``ase.db.connect("x.json")``), row by row and without ASE.

A row has ``numbers``, ``positions`` and ``cell`` (angstrom), ``pbc``, results of a calculator (``energy`` in
eV, ``forces`` in eV/angstrom, ``stress`` in Voigt's order in eV/angstrom^3, ``dipole`` in e*angstrom,
``magmoms`` in Bohr magnetons, ``charges`` in e), ``key_value_pairs`` and ``data``. The results, pairs and
data are labels.

Sources: https://wiki.fysik.dtu.dk/ase/ase/db/db.html and the modules `ase.db.jsondb` and `ase.io.jsonio`.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mml_data.importers.formats import Format
from mml_data.importers.readers.json_stream import JSONStream
from mml_data.importers.readers.units import symmetric
from mml_data.importers.source import Item, Structure

__all__ = ["FORMAT", "read_ase_json"]

_ATOMS = {
    "forces": "forces",
    "magmoms": "magmom",
    "charges": "charges",
    "tags": "tags",
    "energies": "atom_energies",
}
_LABELS = ("energy", "free_energy", "dipole", "magmom", "charge")
_ABOUT = ("calculator", "calculator_parameters", "unique_id", "user", "constraints")


def read_ase_json(path: Path) -> Iterator[Item]:
    """Yield the rows of a database."""
    count = 0
    try:
        with JSONStream(path) as stream:
            for (key,), row in stream.members():
                if key in ("ids", "nextid", "metadata"):
                    continue
                count += 1
                try:
                    yield f"{path}:row {key}", _convert(_plain(row))
                except (KeyError, TypeError, ValueError) as error:
                    yield f"{path}:row {key}", ValueError(f"the row cannot be read: {error}")
    except ValueError as error:
        yield f"{path}:row {count + 1}", error


def _plain(value: Any) -> Any:
    """Replace arrays and objects in the form of `ase.io.jsonio` by arrays."""
    if not isinstance(value, Mapping):
        return [_plain(each) for each in value] if isinstance(value, list) else value
    if "__ndarray__" in value:
        shape, dtype, flat = value["__ndarray__"]
        return np.array(flat, dtype=dtype).reshape(shape)
    if value.get("__ase_objtype__") == "cell":
        return _plain(value["array"])
    return {name: _plain(each) for name, each in value.items()}


def _convert(row: dict[str, Any]) -> Structure:
    cell = np.asarray(row.get("cell", np.zeros((3, 3))), dtype=np.float64).reshape(3, 3)
    labels = {name: row[name] for name in _LABELS if row.get(name) is not None}
    if row.get("stress") is not None:
        stress = np.asarray(row["stress"], dtype=np.float64)
        labels["stress"] = symmetric(stress) if stress.size == 6 else stress.reshape(3, 3)
    extra = {name: row[name] for name in _ABOUT if row.get(name) not in (None, {}, [])}
    for values in (row.get("data") or {}, row.get("key_value_pairs") or {}):
        for name, value in values.items():
            (extra if isinstance(value, Mapping) else labels).setdefault(name, value)
    structure: Structure = {
        "atomic_numbers": row["numbers"],
        "positions": np.asarray(row["positions"], dtype=np.float64).reshape(-1, 3),
        "cell": cell if cell.any() else None,
        "pbc": [bool(flag) for flag in row.get("pbc", (False,) * 3)],
        "labels": labels,
        "atom_labels": {
            standard: row[name] for name, standard in _ATOMS.items() if row.get(name) is not None
        },
        "extra": extra,
    }
    return structure | ({"sample_id": str(row["unique_id"])} if row.get("unique_id") else {})


FORMAT = Format(
    name="ASE JSON",
    files="*.json of ase.db",
    labels="energy (eV), forces (eV/angstrom), stress (eV/angstrom^3), key-value pairs, items of data",
    matches=lambda name, head: (
        head.lstrip().startswith(b"{") and b'"__ndarray__"' in head and b'"numbers"' in head
    ),
    read=read_ase_json,
)
