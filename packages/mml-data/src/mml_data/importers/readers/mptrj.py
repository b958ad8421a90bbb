"""Read the MPtrj data set (``MPtrj_2022.9_full.json``) and other data for CHGNet.

The file is an object of objects, ``{mp-id: {frame-id: entry}}``. An entry has a pymatgen ``structure``, the
energies ``uncorrected_total_energy``, ``corrected_total_energy`` (eV), ``energy_per_atom``,
``ef_per_atom``, ``e_per_atom_relaxed`` and ``ef_per_atom_relaxed`` (eV per atom), ``force`` (eV/angstrom),
``stress`` (kilobar, with the sign of VASP), ``magmom`` (Bohr magneton, null for some frames) and ``bandgap``
(eV). CHGNet trains on ``energy_per_atom``, which is the corrected energy divided by the number of atoms, on
-0.1 times the stress as GPa, and on the absolute value of the magnetic moments.

Sources: https://figshare.com/articles/dataset/23713842 and the class ``StructureJsonData`` in
https://github.com/CederGroupHub/chgnet/blob/main/chgnet/data/dataset.py.
"""

from collections.abc import Mapping
from typing import Any

from mml_data.importers.readers.any_structure import any_structure, labels_of
from mml_data.importers.readers.dialect import Dialect
from mml_data.importers.readers.units import stress_from_vasp
from mml_data.importers.source import Structure

__all__ = ["DIALECT"]

_ENERGIES = ("corrected_total_energy", "uncorrected_total_energy", "ef_per_atom")


def _owns(entry: Mapping[str, Any]) -> bool:
    return "structure" in entry and any(name in entry for name in _ENERGIES)


def _convert(entry: Mapping[str, Any]) -> Structure:
    found = any_structure(entry["structure"])
    labels, extra = labels_of(entry, skip=("structure", "force", "stress", "magmom"))
    atom_labels = dict(found.get("atom_labels", {}))
    for name, standard in (("force", "forces"), ("magmom", "magmom")):
        if entry.get(name) is not None:
            atom_labels[standard] = entry[name]
    if entry.get("stress") is not None:
        labels["stress"] = stress_from_vasp(entry["stress"])
    return found | {
        "labels": found.get("labels", {}) | labels,
        "atom_labels": atom_labels,
        "extra": found.get("extra", {}) | extra,
    }


DIALECT = Dialect(
    name="MPtrj JSON",
    files="MPtrj*.json",
    labels=(
        "corrected_total_energy and uncorrected_total_energy (eV), energies per atom (eV), forces "
        "(eV/angstrom), stress (kilobar of VASP, converted), magmom (Bohr magneton), bandgap (eV)"
    ),
    hints=(b'"structure"', b'_total_energy"'),
    owns=_owns,
    convert=_convert,
)
