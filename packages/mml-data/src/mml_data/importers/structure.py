"""Convert structures, as read from files or from other libraries, to samples.

A structure is a dict with the keys ``atomic_numbers``, [N], and ``positions``, [N][3] (Cartesian, in
angstrom). A periodic structure also has ``cell``, [3][3] (rows are the lattice vectors, in angstrom).
Optional keys are ``pbc``, [3]; ``labels``, the values of the structure under the names of the file;
``atom_labels``, arrays that the format declares per atom, [N, ...]; ``targets``, labels that the author of
the file declared as targets; ``extra`` (any value that can be stored); ``sample_id``; and ``warnings``, the
warnings of a parser about this structure. Arrays are accepted in place of lists.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from mml_samples import Sample, atomic_number

from mml_data.importers.contacts import check_contacts
from mml_data.importers.labels import LabelPlan, Recipe
from mml_data.importers.pickles import Fields, Record, fields
from mml_data.importers.source import Structure
from mml_data.store.checks import check_storable
from mml_data.tensor_type import is_tensor

__all__ = ["from_pymatgen", "from_structure_dict", "plain", "to_sample"]

_NO_VOLUME = 1e-6


def to_sample(structure: Mapping[str, Any], plan: LabelPlan, *, check: bool = True) -> tuple[Sample, Recipe]:
    """Convert a structure to a sample.

    Parameters
    ----------
    structure
        Structure, as described at the top of this module.
    plan
        Labels to import.
    check
        Whether to check the sample against the contract. Otherwise, the caller does.

    Returns
    -------
    tuple
        Sample, and the recipe by which its labels were converted.

    Raises
    ------
    TypeError, ValueError
        If the structure is invalid. The message gives the reason.
    """
    numbers, positions = structure.get("atomic_numbers"), structure.get("positions")
    if type(numbers) is not np.ndarray:
        numbers = _array(structure, "atomic_numbers")
    if type(positions) is not np.ndarray:
        positions = _array(structure, "positions")
    if positions.dtype != np.float64 and positions.dtype != np.float32:
        positions = _floats(positions, "positions")
    sample: dict[str, Any] = {"atomic_numbers": numbers, "pos": positions}
    cell = structure.get("cell")
    if cell is not None:
        cell = sample["cell"] = _cell(structure)
    sample["pbc"] = _pbc(structure, has_cell=cell is not None)
    if plan.length != 1.0:
        sample["pos"] = positions * plan.length
        if cell is not None:
            cell = sample["cell"] = cell * plan.length
    try:
        targets, keys, extra, recipe = plan.convert(
            structure, numbers.size, lambda: None if cell is None else _volume(cell[0])
        )
    except ValueError:
        check_storable(sample)  # an error of the structure explains the error of its labels
        raise
    if targets:
        sample["targets"] = targets
    if keys:
        sample.update(keys)
    given = structure.get("extra")
    if given is not None and not isinstance(given, Mapping):
        raise ValueError(f"'extra' must be an object, got {type(given).__name__}")
    if extra:
        extra = {name: plain(value) for name, value in extra.items()}
    if extra or given:
        sample["extra"] = {**extra, **given} if given else extra
    if structure.get("sample_id") is not None:
        sample["sample_id"] = str(structure["sample_id"])
    if check:
        check_storable(sample)
        _check_cell(sample)
        if not plan.allow_close:
            check_contacts(numbers, sample["pos"], None if cell is None else cell[0], sample["pbc"])
        sample["atomic_numbers"] = numbers.astype(np.uint8)
    return cast("Sample", sample), recipe


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


def _pbc(structure: Mapping[str, Any], *, has_cell: bool) -> np.ndarray:
    """Return the periodic directions, [3] bool. The default is all with a cell, and none without."""
    given = structure.get("pbc")
    if type(given) is np.ndarray and given.dtype == bool and given.shape == (3,):
        flags = given
    elif given is None:
        flags = np.full(3, has_cell)
    else:
        listed = list(given) if isinstance(given, list | tuple | np.ndarray) else [given]
        if len(listed) != 3 or not all(isinstance(flag, bool | np.bool_) for flag in listed):
            raise ValueError(f"'pbc' must be three booleans, got {given}")
        flags = np.array(listed)
    if not has_cell and flags.any():
        raise ValueError(
            f"'pbc' is {flags.tolist()}, but the structure has no 'cell'; add 'cell', or remove 'pbc'"
        )
    return flags


def _cell(structure: Mapping[str, Any]) -> np.ndarray:
    """Return the lattice vectors, [1, 3, 3]."""
    cell = structure["cell"]
    cell = cell if type(cell) is np.ndarray else _array(structure, "cell")
    if cell.dtype != np.float64 and cell.dtype != np.float32:
        cell = _floats(cell, "cell")
    if cell.shape != (3, 3):
        raise ValueError(
            f"'cell' must have the shape [3][3] (rows are the lattice vectors), got {list(cell.shape)}"
        )
    return cell[None]


def _check_cell(sample: Mapping[str, Any]) -> None:
    if sample["pbc"].all() and np.isfinite(sample["cell"]).all() and _volume(sample["cell"][0]) is None:
        raise ValueError(f"'cell' has zero volume: {sample['cell'][0].tolist()}")


def _volume(cell: np.ndarray) -> float | None:
    """Return the volume of a cell in angstrom^3, or None if it is zero."""
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = cell.tolist()
    volume = abs(ax * (by * cz - bz * cy) + ay * (bz * cx - bx * cz) + az * (bx * cy - by * cx))
    return volume if volume >= _NO_VOLUME else None


def _floats(array: np.ndarray, key: str) -> np.ndarray:
    if array.dtype.kind not in "iuf":
        raise ValueError(f"{key!r} must contain only numbers")
    return array.astype(np.float64)


def _array(structure: Mapping[str, Any], key: str) -> np.ndarray:
    value = structure.get(key)
    if value is None:
        raise ValueError(f"the structure has no {key!r}")
    try:
        array = value.detach().cpu().numpy() if is_tensor(value) else np.array(value)
    except ValueError as error:
        raise ValueError(f"{key!r} has rows of different lengths") from error
    if array.dtype.kind not in "iuf":
        raise ValueError(f"{key!r} must contain only numbers")
    return array
