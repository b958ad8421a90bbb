"""Read the MatPES data sets (``MatPES-PBE-2025.1.json.gz``, ``MatPES-R2SCAN-2025.1.json.gz``).

The file is a list of entries with a pymatgen ``structure``, ``energy`` (eV), ``forces`` (eV/angstrom),
``stress`` (kilobar, in Voigt's order xx yy zz yz xz xy, with the sign of VASP), ``bandgap`` (eV),
``formation_energy_per_atom`` and ``cohesive_energy_per_atom`` (eV).

Sources: the commented example at https://matpes.ai/dataset for the keys and units, and the class
``MLTrainDoc`` of emmet-core, which writes the data, for the order of the stress; it copies the stress of
VASP's output without a change of sign. ColabFit's conversion of the data assumes VASP's order instead.
"""

from collections.abc import Mapping
from typing import Any

from mml_data.importers.readers.any_structure import any_structure, labels_of
from mml_data.importers.readers.dialect import Dialect
from mml_data.importers.readers.units import VOIGT_ORDER, stress_from_vasp
from mml_data.importers.source import Structure

__all__ = ["DIALECT"]

_ATOMS = ("forces", "bader_charges", "bader_magmoms", "ddec6_charges")
_DESCRIPTIVE = (
    "nsites",
    "elements",
    "nelements",
    "composition",
    "volume",
    "density",
    "density_atomic",
    "abs_forces",
)


def _convert(entry: Mapping[str, Any]) -> Structure:
    found = any_structure(entry["structure"])
    labels, extra = labels_of(entry, skip=("structure", "matpes_id", "stress", "stress_matrix", *_ATOMS))
    extra |= {name: labels.pop(name) for name in _DESCRIPTIVE if name in labels}
    stress = entry.get("stress") or entry.get("stress_matrix")
    if stress is not None:
        labels["stress"] = stress_from_vasp(stress, VOIGT_ORDER)
    atoms = {name: entry[name] for name in _ATOMS if entry.get(name) is not None}
    return found | {
        "labels": found.get("labels", {}) | labels,
        "atom_labels": found.get("atom_labels", {}) | atoms,
        "extra": found.get("extra", {}) | extra,
        "sample_id": entry["matpes_id"],
    }


DIALECT = Dialect(
    name="MatPES JSON",
    files="MatPES-*.json, MatPES-*.json.gz",
    labels=(
        "energy (eV), forces (eV/angstrom), stress (kilobar of VASP in Voigt's order, converted), bandgap "
        "(eV), formation_energy_per_atom and cohesive_energy_per_atom (eV)"
    ),
    hints=(b'"matpes_id"',),
    owns=lambda entry: "structure" in entry and entry.get("matpes_id") is not None,
    convert=_convert,
)
