"""Convert structures, as read from files or from other libraries, to samples.

A structure is a dict with the keys ``atomic_numbers``, [N], and ``positions``, [N][3] (Cartesian, in
angstrom). A periodic structure also has ``cell``, [3][3] (rows are the lattice vectors, in angstrom).
Optional keys are ``pbc``, [3]; ``targets`` (name to number, boolean or nested list); ``extra`` (any value
that can be stored); and ``sample_id``. Arrays are accepted in place of lists.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from mml_samples import Sample, atomic_number

from mml_data.importers.pickles import Fields, Record, fields
from mml_data.importers.source import Structure
from mml_data.importers.targets import TargetKinds
from mml_data.store.checks import check_storable
from mml_data.tensor_type import is_tensor

__all__ = ["from_pymatgen", "from_structure_dict", "plain", "to_sample"]


def to_sample(structure: Mapping[str, object], kinds: TargetKinds) -> Sample:
    """Convert a structure to a sample.

    Raises
    ------
    TypeError, ValueError
        If the structure is invalid. The message gives the reason.
    """
    for key in ("atomic_numbers", "positions"):
        if structure.get(key) is None:
            raise ValueError(f"the structure has no {key!r}")
    positions = _array(structure, "positions")
    sample: dict[str, Any] = {
        "atomic_numbers": _array(structure, "atomic_numbers"),
        "pos": positions if positions.dtype == np.float32 else positions.astype(np.float64),
        **_lattice(structure),
    }
    targets = kinds.convert(_object(structure, "targets"), sample["atomic_numbers"].size)
    if targets:
        sample |= {"targets": targets, "target_types": kinds.target_types}
    if extra := _object(structure, "extra"):
        sample["extra"] = dict(extra)
    if structure.get("sample_id") is not None:
        sample["sample_id"] = str(structure["sample_id"])
    check_storable(sample)
    return cast("Sample", sample | {"atomic_numbers": sample["atomic_numbers"].astype(np.uint8)})


def from_pymatgen(structure: object) -> Structure:
    """Convert a pymatgen ``Structure`` or ``Molecule``, or a record of one (see `pickles`).

    Raises
    ------
    ValueError
        If a site is not fully occupied by one element.
    """
    held = fields(structure)
    sites = [fields(site) for site in held.get("_sites", ())]
    if not sites:
        raise ValueError("the structure has no atoms")
    lattice = fields(held["_lattice"]) if held.get("_lattice") is not None else None
    found: dict[str, object] = {"atomic_numbers": [_element_of(site) for site in sites]}
    properties = [site.get("properties") or {} for site in sites]
    if lattice is not None:
        cell = np.array(lattice["_matrix"], dtype=np.float64).reshape(3, 3)
        found["positions"] = np.array([site["_frac_coords"] for site in sites], dtype=np.float64) @ cell
        found |= {"cell": cell, "pbc": [bool(flag) for flag in lattice.get("_pbc", (True,) * 3)]}
    else:
        found["positions"] = np.array([site.get("_coords", site.get("coords")) for site in sites])
    return found | _site_properties(properties)


def from_structure_dict(structure: Fields) -> Structure:
    """Convert the output of ``Structure.as_dict()`` or ``Molecule.as_dict()`` of pymatgen.

    Raises
    ------
    ValueError
        If `structure` has no sites, or if a site is not fully occupied by one element.
    """
    sites = structure.get("sites")
    if not isinstance(sites, list) or not sites:
        raise ValueError("the structure has no 'sites'")
    found: dict[str, object] = {"atomic_numbers": [_element_of_species(site["species"]) for site in sites]}
    lattice = structure.get("lattice")
    if lattice is not None:
        cell = np.array(lattice["matrix"], dtype=np.float64).reshape(3, 3)
        found["positions"] = np.array([site["abc"] for site in sites], dtype=np.float64) @ cell
        found |= {"cell": cell, "pbc": [bool(flag) for flag in lattice.get("pbc", (True,) * 3)]}
    else:
        found["positions"] = np.array([site["xyz"] for site in sites], dtype=np.float64)
    return found | _site_properties([site.get("properties") or {} for site in sites])


def plain(value: object) -> Any:
    """Convert a value to plain data that can be stored: numbers, text, arrays, and lists and dicts of these.

    Records become dicts. Members of an enumeration become their value. Other objects, such as dates, become
    text.
    """
    if value is None or isinstance(value, str | bool | int | float | bytes):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if is_tensor(value):
        return value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        return value if value.dtype.kind in "biuf" else value.tolist()
    if isinstance(value, Record) and value.args and not fields(value):
        return plain(value.args[0])  # a member of an enumeration
    if isinstance(value, Record):
        value = fields(value)
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return str(value)


def _element_of(site: Fields) -> int:
    species = fields(site["_species"]) if "_species" in site else site["species"]
    return _element_of_species(
        [{"element": element, "occu": amount} for element, amount in species["_data"].items()]
    )


def _element_of_species(species: Sequence[Fields]) -> int:
    if len(species) != 1 or abs(float(species[0]["occu"]) - 1) > 1e-8:
        parts = ", ".join(f"{_symbol(each['element'])} {float(each['occu']):g}" for each in species)
        raise ValueError(
            f"a site is occupied by {parts}; only sites that are fully occupied by one element can be "
            "imported"
        )
    return atomic_number(_symbol(species[0]["element"]))


def _symbol(element: object) -> str:
    if isinstance(element, Record):
        held = fields(element)
        element = element.args[0] if element.args else held.get("_el", held.get("symbol", ""))
        return _symbol(element) if isinstance(element, Record) else str(element)
    return str(getattr(element, "symbol", element))


def _site_properties(properties: list[Mapping[str, object]]) -> dict[str, object]:
    """Return the properties of sites as lists under ``extra``.

    A site without a property has None in its list.
    """
    names = dict.fromkeys(name for each in properties for name in each)
    listed = {name: [plain(each.get(name)) for each in properties] for name in names}
    kept = {name: values for name, values in listed.items() if any(value is not None for value in values)}
    return {"extra": kept} if kept else {}


def _lattice(structure: Mapping[str, object]) -> Structure:
    """Return ``cell``, [1, 3, 3], if the structure has a cell, and ``pbc``, [3]."""
    has_cell = structure.get("cell") is not None
    given = structure.get("pbc")
    flags = (
        [has_cell] * 3 if given is None else list(given) if isinstance(given, tuple | np.ndarray) else given
    )
    if (
        not isinstance(flags, list)
        or len(flags) != 3
        or not all(isinstance(flag, bool | np.bool_) for flag in flags)
    ):
        raise ValueError(f"'pbc' must be three booleans, got {given}")
    pbc = np.array(flags)
    if not has_cell:
        if pbc.any():
            raise ValueError(
                f"'pbc' is {given}, but the structure has no 'cell'; add 'cell', or remove 'pbc'"
            )
        return {"pbc": pbc}
    cell = _array(structure, "cell")
    cell = cell if cell.dtype == np.float32 else cell.astype(np.float64)
    if cell.shape != (3, 3):
        raise ValueError(
            f"'cell' must have the shape [3][3] (rows are the lattice vectors), got {list(cell.shape)}"
        )
    if pbc.all() and np.isfinite(cell).all() and abs(np.linalg.det(cell)) < 1e-6:
        raise ValueError(f"'cell' has zero volume: {cell.tolist()}")
    return {"cell": cell[None], "pbc": pbc}


def _array(structure: Fields, key: str) -> np.ndarray:
    value = structure[key]
    try:
        array = value.detach().cpu().numpy() if is_tensor(value) else np.array(value)
    except ValueError as error:
        raise ValueError(f"{key!r} has rows of different lengths") from error
    if array.dtype.kind not in "iuf":
        raise ValueError(f"{key!r} must contain only numbers")
    return array


def _object(structure: Mapping[str, object], key: str) -> Mapping[str, object]:
    value = structure.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ValueError(f"{key!r} must be an object, got {type(value).__name__}")
    return value
