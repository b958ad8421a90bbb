"""Readers for the records of the older toolkit's data sets, one reader for each format.

A reader converts a record (a dict, see `mml_data.importers.pickles`) to a structure (see
`mml_data.importers.structure`). Missing values, which the older toolkit replaced by 0.0, are None.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from mml_samples import atomic_number

from mml_data.importers.pickles import Fields, fields
from mml_data.importers.readers.units import symmetric
from mml_data.importers.source import Structure
from mml_data.importers.structure import from_pymatgen, from_structure_dict, plain
from mml_data.importers.targets import Label

__all__ = ["READERS", "UNITS", "LegacyReader", "find_reader"]

Wanted = Collection[str] | None

METERS_TO_ANGSTROM = 1e10
JOULES_TO_EV = 1 / 1.602176634e-19
"""Electronvolts in one joule. The elementary charge is exact since the SI revision of 2019."""


@dataclass(frozen=True)
class LegacyReader:
    """Function that reads a record of a data set, and the keys that identify its records."""

    read: Callable[[Fields, Wanted], Structure]
    keys: frozenset[str]


def find_reader(record: Fields) -> str:
    """Return the name of the reader for a record, determined from the keys of the record.

    Raises
    ------
    ValueError
        If no reader matches.
    """
    for name, reader in READERS.items():
        if reader.keys <= record.keys():
            if (
                name == "materials_project"
                and isinstance(record["structure"], Mapping)
                and "sites" in record["structure"]
            ):
                continue
            return name
    raise ValueError(
        f"the data set cannot be determined from the keys {', '.join(map(str, record)) or '(none)'}; pass "
        f"reader (--reader), one of {', '.join(READERS)}"
    )


def _materials_project(record: Fields, wanted: Wanted) -> Structure:
    """Read a record of the Materials Project: a pymatgen structure, and the fields of its summary."""
    structure = from_pymatgen(record["structure"])
    ignored = {"structure", "symmetry", "fields_not_requested", *record.get("fields_not_requested", ())}
    targets, extra = _sort(record, wanted, ignored)
    symmetry = fields(record["symmetry"]) if record.get("symmetry") is not None else {}
    if symmetry:
        extra["symmetry"] = {
            name: plain(symmetry[name])
            for name in ("number", "symbol", "point_group", "crystal_system")
            if name in symmetry
        }
    return structure | {"targets": targets, "extra": {**structure.get("extra", {}), **extra}}


_TRAJECTORY = ("energy", "force", "stress", "magmom", "energy_per_atom", "ef_per_atom", "e_per_atom_relaxed",
               "ef_per_atom_relaxed", "uncorrected_total_energy", "corrected_total_energy")  # fmt: skip
_KILOBAR = 1 / 1602.1766208
"""Pressure of one kilobar in eV/angstrom^3."""


def _trajectory(record: Fields, wanted: Wanted) -> Structure:
    """Read a record of a Materials Project trajectory.

    The stress is in kilobar with the sign of VASP, which is opposite to that of ASE.
    """
    structure = (
        from_structure_dict(record["structure"])
        if "sites" in record["structure"]
        else from_pymatgen(record["structure"])
    )
    names = _TRAJECTORY if wanted is None else tuple(wanted)
    targets = {
        name: plain(record[name]) for name in names if record.get(name) is not None and name != "magmom"
    }
    if "energy" not in targets and "corrected_total_energy" in targets:
        targets["energy"] = targets["corrected_total_energy"]
    if "stress" in targets:
        targets["stress"] = -_KILOBAR * np.asarray(targets["stress"], dtype=np.float64).reshape(3, 3)
    rest = {name: plain(value) for name, value in record.items() if name not in (*targets, "structure")}
    return structure | {"targets": targets, "extra": {**structure.get("extra", {}), **rest}}


def _lips(record: Fields, wanted: Wanted) -> Structure:
    """Read a record of LiPS: Cartesian positions, cell, energy and forces. ``pbc`` is three integers."""
    return _tensors(record) | {
        "targets": {name: plain(record[name]) for name in wanted or ("energy", "force")}
    }


def _colabfit(record: Fields, wanted: Wanted) -> Structure:
    """Read a record of ColabFit. It is like LiPS, with the names of ColabFit's property definitions."""
    targets = {
        _COLABFIT.get(name, name): plain(record[name]) for name in wanted or _COLABFIT if name in record
    }
    if targets.get("stress") is not None:
        targets["stress"] = _matrix(targets["stress"])
    return _tensors(record) | {"targets": targets}


_COLABFIT = {
    "potential-energy": "energy",
    "force": "force",
    "stress": "stress",
    "formation-energy": "formation_energy",
    "free-energy": "free_energy",
    "band-gap": "band_gap",
    "adsorption-energy": "adsorption_energy",
}


def _oqmd(record: Fields, wanted: Wanted) -> Structure:
    """Read a record of OQMD.

    ``cart_coords`` are fractional coordinates, and ``delta_e`` is the formation energy.
    """
    cell = np.array(plain(record["cell"]), dtype=np.float64).reshape(3, 3)
    names = {"energy": "delta_e", "band_gap": "band_gap", "stability": "stability"}
    targets = {name: plain(record.get(names.get(name, name))) for name in wanted or names}
    ignored = {"cart_coords", "cell", "atomic_numbers", *names.values(), *names}
    return _fractional(record, cell) | {"targets": targets, "extra": _rest(record, ignored)}


def _carolina(record: Fields, wanted: Wanted) -> Structure:
    """Read a record of the Carolina Materials Database.

    ``cart_coords`` are fractional coordinates. Lengths and angles of the lattice are text from a CIF file.
    """
    lengths = [float(record[f"_cell_length_{axis}"]) for axis in "abc"]
    angles = [np.radians(float(record[f"_cell_angle_{angle}"])) for angle in ("alpha", "beta", "gamma")]
    targets = {name: plain(record.get(name)) for name in wanted or ("energy",)}
    ignored = {"cart_coords", "atomic_numbers", "energy"}
    structure = _fractional(record, cell_from_lengths(lengths, angles))
    return structure | {"targets": targets, "extra": _rest(record, ignored)}


def _nomad(record: Fields, wanted: Wanted) -> Structure:
    """Read a record of NOMAD, in meters and joules.

    The lattice vectors are stored. They may be oriented differently from vectors built from lengths and
    angles.
    """
    structure = record["properties"]["structures"]["structure_original"]
    bands = record["properties"]["electronic"]["band_structure_electronic"]
    bands = bands[-1] if isinstance(bands, list) else bands
    if structure.get("lattice_vectors") is None:
        raise ValueError(
            "the record has no 'lattice_vectors', and lengths and angles do not determine the orientation "
            "of the cell"
        )
    targets = {
        "energy_total": _scaled(record.get("energies", {}).get("total", {}).get("value"), JOULES_TO_EV),
        "efermi": _scaled(_first(bands.get("energy_fermi")), JOULES_TO_EV),
        "spin_polarized": bands.get("spin_polarized"),
    }
    return {
        "atomic_numbers": [atomic_number(symbol) for symbol in structure["species_at_sites"]],
        "positions": np.array(structure["cartesian_site_positions"], dtype=np.float64) * METERS_TO_ANGSTROM,
        "cell": np.array(structure["lattice_vectors"], dtype=np.float64) * METERS_TO_ANGSTROM,
        "targets": {name: plain(targets[name]) for name in wanted or targets},
        "extra": {"symmetry": plain(record.get("material", {}).get("symmetry"))},
    }


def _alexandria(record: Fields, wanted: Wanted) -> Structure:
    """Read a record of Alexandria: a structure as a dict, targets by type, forces and magnetic moments."""
    structure = from_structure_dict(record["structure"])
    targets: dict[str, object] = {}
    for group in ("regression", "classification"):
        for name, value in (record["targets"].get(group) or {}).items():
            targets[name] = bool(value) if group == "classification" and value is not None else plain(value)
    if record.get("force") is not None:
        targets.setdefault("force", plain(record["force"]))
    if "stress" in targets and targets["stress"] is not None:
        targets["stress"] = _matrix(targets["stress"])
    targets = {name: targets.get(name) for name in wanted or targets}
    extra = {**structure.get("extra", {}), **_rest(record, {"structure", "targets", "force"})}
    return structure | {"targets": targets, "extra": extra}


def _is2re(record: Fields, wanted: Wanted) -> Structure:
    """Read a record of Open Catalyst, initial structure to relaxed energy: a PyG graph."""
    record = _graph_fields(record)
    targets = {"energy_init": record.get("y_init"), "energy_relaxed": record.get("y_relaxed")}
    return _ocp(record, targets, wanted)


def _s2ef(record: Fields, wanted: Wanted) -> Structure:
    """Read a record of Open Catalyst, structure to energy and forces: a PyG graph or a dict of arrays."""
    record = _graph_fields(record)
    return _ocp(record, {"energy": record.get("y"), "force": record.get("force")}, wanted)


def _symmetry(record: Fields, wanted: Wanted) -> Structure:
    """Read a record of synthetic point groups: points of several types, and the number of the group."""
    types = np.asarray(plain(record["dest_types"])).ravel()
    positions = np.asarray(plain(record["coordinates"]))
    if len(types) != len(positions):
        raise ValueError(f"expected one type per point, got {len(types)} types for {len(positions)} points")
    real = types != 0  # zeros are padding
    return {
        "atomic_numbers": types[real],
        "positions": positions[real],
        "targets": {"point_group": Label(int(np.asarray(plain(record["label"])).ravel()[0]))},
    }


_SUMMARY = (
    "uncorrected_energy_per_atom", "energy_per_atom", "formation_energy_per_atom", "energy_above_hull",
    "is_stable", "equilibrium_reaction_energy_per_atom", "band_gap", "cbm", "vbm", "efermi", "is_gap_direct",
    "is_metal", "is_magnetic", "total_magnetization", "total_magnetization_normalized_vol",
    "total_magnetization_normalized_formula_units", "universal_anisotropy", "homogeneous_poisson", "e_total",
    "e_ionic", "e_electronic", "n", "e_ij_max", "weighted_surface_energy_EV_PER_ANG2",
    "weighted_surface_energy", "weighted_work_function", "surface_anisotropy", "shape_factor",
)  # fmt: skip
"""Fields of the Materials Project's summary that are numbers or booleans if they are known."""


def _sort(
    record: Fields, wanted: Wanted, ignored: Collection[str]
) -> tuple[dict[str, object], dict[str, object]]:
    """Separate a record into its targets and its other values."""
    targets: dict[str, object] = {}
    extra: dict[str, object] = {}
    for name, value in record.items():
        if name in ignored and name not in (wanted or ()):
            continue
        is_number = isinstance(value, bool | int | float | np.number) or (value is None and name in _SUMMARY)
        if name in wanted if wanted is not None else is_number:
            targets[name] = plain(value)
        elif value is not None:
            extra[name] = plain(value)
    return targets, extra


def _rest(record: Fields, ignored: Collection[str]) -> dict[str, object]:
    return {
        str(name): plain(value) for name, value in record.items() if name not in ignored and value is not None
    }


def _tensors(record: Fields) -> Structure:
    """Read ``pos``, ``atomic_numbers``, ``cell`` and ``pbc``, given as tensors or lists."""
    structure: dict[str, object] = {
        "atomic_numbers": np.asarray(plain(record["atomic_numbers"])).ravel(),
        "positions": np.asarray(plain(record["pos"])).reshape(-1, 3),
    }
    if record.get("cell") is not None:
        structure["cell"] = np.asarray(plain(record["cell"])).reshape(3, 3)
    if record.get("pbc") is not None:
        structure["pbc"] = np.asarray(plain(record["pbc"])).ravel().astype(bool)
    return structure


def _fractional(record: Fields, cell: np.ndarray) -> dict[str, object]:
    fractions = np.array(plain(record["cart_coords"]), dtype=np.float64).reshape(-1, 3)
    numbers = np.asarray(plain(record["atomic_numbers"])).ravel()
    return {"atomic_numbers": numbers, "positions": fractions @ cell, "cell": cell}


def cell_from_lengths(lengths: list[float], angles: list[float]) -> np.ndarray:
    """Return lattice vectors as rows, [3, 3] in angstrom, from lengths in angstrom and angles in radians."""
    from mml_graphs import cell_from_parameters  # imports torch, which other formats do not need

    return np.asarray(cell_from_parameters(np.array([*lengths, *angles])))


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else float(value) * factor


def _first(value: object) -> Any:
    return value[0] if isinstance(value, list) and value else value


def _graph_fields(record: Fields) -> Fields:
    """Return the arrays of a PyG graph. Older versions store them as attributes, newer ones in ``_store``."""
    store = record.get("_store")
    return fields(store).get("_mapping", {}) if store is not None else record


def _ocp(record: Fields, targets: dict[str, object], wanted: Wanted) -> dict[str, object]:
    if "pos" not in record:
        raise ValueError("the record has no 'pos'; records with DGL graphs are not supported")
    found = {name: plain(value) for name, value in targets.items()}
    found = {
        name: float(np.asarray(value).ravel()[0]) if value is not None and name != "force" else value
        for name, value in found.items()
    }
    structure_keys = {"pos", "atomic_numbers", "cell", "edge_index", "cell_offsets", "distances", "natoms"}
    ignored = structure_keys | {"force", "y", "y_init", "y_relaxed"}
    structure = _tensors(record)
    return structure | {
        "targets": {name: found.get(name) for name in wanted or found},
        "extra": _rest(record, ignored),
    }


_ENERGIES = (
    "band_gap", "efermi", "cbm", "vbm", "energy_total", "energy_init", "energy_relaxed", "free_energy",
    "corrected_total_energy", "uncorrected_total_energy", "adsorption_energy",
)  # fmt: skip
_ENERGIES_PER_ATOM = (
    "uncorrected_energy_per_atom", "energy_per_atom", "formation_energy_per_atom", "energy_above_hull",
    "equilibrium_reaction_energy_per_atom", "ef_per_atom", "ef_per_atom_relaxed", "e_per_atom_relaxed",
    "formation_energy",
)  # fmt: skip
UNITS: dict[str, str] = {
    **{f"targets.{name}": "eV" for name in _ENERGIES},
    **{f"targets.{name}": "eV/atom" for name in _ENERGIES_PER_ATOM},
}
"""Units of targets, as documented by the data sets."""

READERS: dict[str, LegacyReader] = {
    "materials_project": LegacyReader(_materials_project, frozenset({"structure", "fields_not_requested"})),
    "alexandria": LegacyReader(_alexandria, frozenset({"structure", "targets"})),
    "materials_trajectory": LegacyReader(_trajectory, frozenset({"structure"})),
    "nomad": LegacyReader(_nomad, frozenset({"properties", "energies"})),
    "carolina": LegacyReader(_carolina, frozenset({"cart_coords", "_cell_length_a"})),
    "oqmd": LegacyReader(_oqmd, frozenset({"cart_coords", "delta_e"})),
    "symmetry": LegacyReader(_symmetry, frozenset({"coordinates", "dest_types"})),
    "is2re": LegacyReader(_is2re, frozenset({"y_relaxed"})),
    "colabfit": LegacyReader(_colabfit, frozenset({"pos", "potential-energy"})),
    "lips": LegacyReader(_lips, frozenset({"pos", "energy", "force"})),
    "s2ef": LegacyReader(_s2ef, frozenset({"y"})),
}
"""Readers by name, in order. The first reader whose keys are all in a record reads the record."""


def _matrix(stress: Any) -> np.ndarray:
    """Return a stress in Voigt order (xx yy zz yz xz xy), or a matrix, as a [3, 3] matrix."""
    array = np.asarray(stress, dtype=np.float64)
    return symmetric(array) if array.shape == (6,) else array.reshape(3, 3)
