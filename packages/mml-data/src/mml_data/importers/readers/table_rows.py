"""Convert the rows of tables: parquet, and CSV with a column of structures.

A row has one of these forms:

- the fields of OPTIMADE (LeMat, Alexandria), see `mml_data.importers.readers.optimade`;
- the columns of ColabFit: ``atomic_numbers``, ``positions``, ``cell``, ``pbc``, ``energy`` (eV),
  ``atomic_forces`` (eV/angstrom) and ``cauchy_stress``, which keeps its name because its sign and its
  normalization (``cauchy_stress_volume_normalized``) differ between data sets
  (https://github.com/colabfit/colabfit-tools, https://huggingface.co/colabfit);
- elements, positions in angstrom and cell under other usual names (``numbers``, ``pos`` ...);
- a column with a structure, see `mml_data.importers.readers.any_structure`, or any entry that a JSON file
  may contain.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from mml_samples import atomic_number

from mml_data.importers.readers.any_structure import STRUCTURE_KEYS, labels_of
from mml_data.importers.readers.json_formats import convert_entry
from mml_data.importers.readers.optimade import from_optimade, is_optimade
from mml_data.importers.source import Structure
from mml_data.importers.structure import plain

__all__ = ["convert_row", "has_structures"]

_ELEMENTS = ("atomic_numbers", "numbers", "symbols", "species", "elements")
_POSITIONS = ("positions", "pos", "coords", "cartesian_coords", "cart_coords")
_CELLS = ("cell", "lattice", "lattice_vectors", "lattice_mat")
_ATOMS = {"forces": "forces", "force": "forces", "atomic_forces": "forces", "magmoms": "magmom"}
_IDS = ("sample_id", "configuration_id", "material_id", "immutable_id", "id", "jid")


def has_structures(columns: list[str]) -> bool:
    """Return whether rows with these columns can have structures."""
    names = set(columns)
    return (
        {"cartesian_site_positions", "species_at_sites"} <= names
        or (bool(names & set(_ELEMENTS)) and bool(names & set(_POSITIONS)))
        or bool(names & set(STRUCTURE_KEYS))
    )


def convert_row(row: Mapping[str, Any]) -> Structure:
    """Convert a row of a table, in which missing values are None, to a structure.

    Raises
    ------
    ValueError
        If the structure of the row cannot be read.
    """
    elements, positions, cells = (_first(row, names) for names in (_ELEMENTS, _POSITIONS, _CELLS))
    if is_optimade(row):
        structure = from_optimade(row)
    elif elements is None or positions is None:
        structure = convert_entry(row)
    else:
        structure = _from_columns(row, elements, positions, cells)
    identifier = _first(row, _IDS)
    structure["extra"] = plain(structure.get("extra", {}))
    return structure | ({"sample_id": str(row[identifier])} if identifier else {})


def _first(row: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if row.get(name) is not None), None)


def _from_columns(row: Mapping[str, Any], elements: str, positions: str, cells: str | None) -> Structure:
    pbc = row.get("pbc")
    atoms = {name: row[name] for name in _ATOMS if row.get(name) is not None}
    labels, extra = labels_of(row, skip=(elements, positions, cells or "", "pbc", *_ATOMS))
    extra |= {name: labels.pop(name) for name in _IDS if name in labels}
    cell = None if cells is None else np.array(row[cells], dtype=np.float64).reshape(3, 3)
    if cell is not None and not cell.any():
        cell = None
    return {
        "atomic_numbers": [
            atomic_number(value) if isinstance(value, str) else int(value) for value in row[elements]
        ],
        "positions": np.array(row[positions], dtype=np.float64).reshape(-1, 3),
        "cell": cell,
        "pbc": [cell is not None] * 3 if pbc is None else [bool(flag) for flag in pbc],
        "labels": labels,
        "atom_labels": {_ATOMS[name]: np.array(value, dtype=np.float64) for name, value in atoms.items()},
        "extra": extra,
    }
