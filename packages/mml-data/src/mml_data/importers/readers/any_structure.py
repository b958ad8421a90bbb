"""Convert structures within a larger file: dicts of pymatgen or JARVIS, their JSON, and CIF text."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from mml_samples import atomic_number

from mml_data.importers.source import Structure
from mml_data.importers.structure import from_pymatgen, from_structure_dict

__all__ = ["STAGES", "STRUCTURE_KEYS", "any_structure", "is_structure", "labels_of"]

STAGES = ("final_structure", "relaxed_structure", "initial_structure")
"""Names of keys and columns that contain the structure at one stage of a relaxation."""

STRUCTURE_KEYS = ("structure", "atoms", "molecule", "cif", *STAGES)
"""Names of keys and columns that contain a structure, in order of preference."""


def is_structure(value: object) -> bool:
    """Return whether `any_structure` recognizes the form of a value."""
    if isinstance(value, str):
        text = value.lstrip()
        return "_cell_length_a" in value or (
            text.startswith("{") and ('"sites"' in text or "lattice_mat" in text)
        )
    return isinstance(value, Mapping) and ("sites" in value or "lattice_mat" in value)


def any_structure(value: object) -> Structure:
    """Convert a structure in any supported form.

    Parameters
    ----------
    value
        Dict of pymatgen's ``Structure.as_dict()`` or ``Molecule.as_dict()``, dict of JARVIS's
        ``Atoms.to_dict()``, JSON text of one of these, or the text of a CIF with one structure.

    Returns
    -------
    dict
        Structure. Site properties are ``atom_labels``, and a total charge of a pymatgen structure that is not
        zero is the label ``charge``.

    Raises
    ------
    ValueError
        If the value has another form, or if a site is not fully occupied by one element.
    """
    if isinstance(value, str):
        return any_structure(json.loads(value)) if value.lstrip().startswith("{") else _from_cif(value)
    if isinstance(value, Mapping) and "lattice_mat" in value:
        return _from_jarvis(value)
    if isinstance(value, Mapping) and "sites" in value:
        found = _with_atom_labels(from_structure_dict(value))
        if value.get("charge"):
            found["labels"] = {"charge": value["charge"]}
        return found
    raise ValueError(
        "the structure has an unknown form; supported are the dicts of pymatgen and JARVIS, "
        "their JSON, and CIF"
    )


def labels_of(values: Mapping[str, Any], skip: tuple[str, ...] = ()) -> tuple[dict[str, Any], dict[str, Any]]:
    """Divide the values of an entry into labels and extra values.

    Values that are null or ``"na"``, which JARVIS writes for missing values, are left out. Objects, and keys
    that start with ``@``, are not labels.

    Returns
    -------
    tuple
        Labels and extra values.
    """
    labels: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for name, value in values.items():
        if (
            name in skip
            or name.startswith("@")
            or value is None
            or (isinstance(value, str) and value == "na")
        ):
            continue
        nested = isinstance(value, Mapping) or (
            isinstance(value, list) and value and isinstance(value[0], Mapping)
        )
        (extra if nested else labels)[name] = value
    return labels, extra


def _with_atom_labels(structure: Structure) -> Structure:
    """Declare the site properties of a structure as ``atom_labels``, with NaN for sites without a number."""
    properties = structure.pop("extra", {})
    arrays: dict[str, Any] = dict(structure.get("atom_labels", {}))
    others: dict[str, Any] = {}
    for name, values in properties.items():
        try:
            arrays[name] = np.array(
                [np.nan if value is None else value for value in values], dtype=np.float64
            )
        except (TypeError, ValueError):
            others[name] = values
    return structure | ({"atom_labels": arrays} if arrays else {}) | ({"extra": others} if others else {})


def _from_jarvis(atoms: Mapping[str, Any]) -> Structure:
    """Convert the output of ``jarvis.core.atoms.Atoms.to_dict()``.

    The keys are ``lattice_mat``, ``coords``, ``elements`` and ``cartesian``, see
    https://github.com/usnistgov/jarvis/blob/master/jarvis/core/atoms.py.
    """
    cell = np.array(atoms["lattice_mat"], dtype=np.float64).reshape(3, 3)
    coords = np.array(atoms["coords"], dtype=np.float64).reshape(-1, 3)
    structure: Structure = {
        "atomic_numbers": [atomic_number(symbol) for symbol in atoms["elements"]],
        "positions": coords if _true(atoms.get("cartesian", False)) else coords @ cell,
        "cell": cell,
        "pbc": [True] * 3,
    }
    props = list(atoms.get("props") or ())
    return structure | ({"extra": {"props": props}} if any(prop not in ("", None) for prop in props) else {})


def _true(value: object) -> bool:
    return value.lower() == "true" if isinstance(value, str) else bool(value)


def _from_cif(text: str) -> Structure:
    from pymatgen.io.cif import CifParser

    structures = CifParser.from_str(text).parse_structures(primitive=False)
    if len(structures) != 1:
        raise ValueError(f"the CIF must contain one structure, got {len(structures)}")
    return _with_atom_labels(from_pymatgen(structures[0]))
