"""Convert structures with the field names of OPTIMADE, in its JSON responses and in the tables of LeMat.

``lattice_vectors`` and ``cartesian_site_positions`` are in angstrom, ``dimension_types`` are 1 for periodic
directions, and ``species`` describes the names in ``species_at_sites``
(https://github.com/Materials-Consortia/OPTIMADE/blob/develop/optimade.rst). Sites that are not fully
occupied by one element are refused. In LeMat-Bulk and LeMat-Traj, ``energy`` is in eV, ``forces`` are in
eV/angstrom and ``magnetic_moments`` in Bohr magnetons; ``stress_tensor`` is in kilobar and keeps its name,
because its sign is not documented (https://huggingface.co/datasets/LeMaterial/LeMat-Bulk,
https://huggingface.co/spaces/LeMaterial/materials_explorer).
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from mml_samples import atomic_number

from mml_data.importers.readers.any_structure import labels_of
from mml_data.importers.readers.dialect import Dialect
from mml_data.importers.source import Structure

__all__ = ["DIALECT", "from_optimade", "is_optimade"]

_NEEDED = ("cartesian_site_positions", "species_at_sites")
_STRUCTURE = (
    *_NEEDED,
    "lattice_vectors",
    "species",
    "dimension_types",
    "nperiodic_dimensions",
    "structure_features",
)
_DESCRIPTIVE = ("elements", "nelements", "elements_ratios", "nsites", "last_modified", "attributes")
_ATOMS = {"forces": "forces", "magnetic_moments": "magmom"}


def is_optimade(fields: Mapping[str, Any]) -> bool:
    """Return whether the fields of an entry are those of OPTIMADE."""
    fields = fields["attributes"] if isinstance(fields.get("attributes"), Mapping) else fields
    return all(fields.get(name) is not None for name in _NEEDED)


def from_optimade(entry: Mapping[str, Any]) -> Structure:
    """Convert an OPTIMADE entry, or a row with its fields.

    Raises
    ------
    ValueError
        If a site is not fully occupied by one element.
    """
    fields = dict(entry["attributes"]) if isinstance(entry.get("attributes"), Mapping) else dict(entry)
    periodic = fields.get("dimension_types")
    vectors = fields.get("lattice_vectors")
    cell = (
        None
        if vectors is None
        else np.array([[0.0 if x is None else x for x in row] for row in vectors], dtype=np.float64)
    )
    labels, extra = labels_of(fields, skip=(*_STRUCTURE, *_ATOMS))
    extra |= {name: labels.pop(name) for name in _DESCRIPTIVE if name in labels}
    identifier = entry.get("id") or fields.get("immutable_id")
    structure: Structure = {
        "atomic_numbers": _elements(fields),
        "positions": np.array([list(row) for row in fields["cartesian_site_positions"]], dtype=np.float64),
        "cell": cell,
        "pbc": [cell is not None] * 3 if periodic is None else [bool(flag) for flag in periodic],
        "labels": labels,
        "atom_labels": dict(_atom_labels(fields)),
        "extra": extra,
    }
    return structure | ({"sample_id": str(identifier)} if identifier is not None else {})


def _atom_labels(fields: Mapping[str, Any]) -> Iterator[tuple[str, np.ndarray]]:
    for name, standard in _ATOMS.items():
        if fields.get(name) is not None:
            values = np.array([np.array(row, dtype=np.float64) for row in fields[name]])
            if not np.isnan(values).all():
                yield standard, values


def _elements(fields: Mapping[str, Any]) -> list[int]:
    species = fields.get("species")
    if isinstance(species, str):
        species = json.loads(species)
    known: dict[str, str] = {}
    for each in () if species is None else species:
        symbols, amounts = list(each["chemical_symbols"]), list(each.get("concentration") or [1.0])
        if len(symbols) != 1 or abs(amounts[0] - 1) > 1e-8 or symbols[0] in ("X", "vacancy"):
            parts = ", ".join(
                f"{symbol} {amount:g}" for symbol, amount in zip(symbols, amounts, strict=False)
            )
            raise ValueError(
                f"the species {each['name']!r} is {parts}; only sites that are fully occupied by one element "
                "can be imported"
            )
        known[each["name"]] = symbols[0]
    return [atomic_number(known.get(name, name)) for name in fields["species_at_sites"]]


DIALECT = Dialect(
    name="OPTIMADE JSON",
    files="*.json, *.jsonl of OPTIMADE",
    labels="fields of the provider with their own names and units; forces (eV/angstrom)",
    hints=(b'"cartesian_site_positions"',),
    owns=is_optimade,
    convert=from_optimade,
)
