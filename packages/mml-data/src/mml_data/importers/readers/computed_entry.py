"""Read pymatgen's ``ComputedStructureEntry``: one, a list, a dict, or Alexandria's ``{"entries": [...]}``.

``energy`` is the uncorrected total energy (eV). The sum of ``energy`` and ``correction`` is the corrected
energy. Both are labels, ``uncorrected_energy`` and ``corrected_energy``, so that the user chooses one. If an
entry has no ``correction``, ``energy`` is the only label of the two. Values of ``data`` are
labels too (Alexandria's ``energy_total``, ``band_gap_ind`` ...).

Source: the class ``ComputedStructureEntry`` in
https://github.com/materialsproject/pymatgen/blob/master/src/pymatgen/entries/computed_entries.py.
"""

from collections.abc import Mapping
from typing import Any

from mml_data.importers.readers.any_structure import any_structure, labels_of
from mml_data.importers.readers.dialect import Dialect
from mml_data.importers.source import Structure

__all__ = ["DIALECT"]

_OWN = (
    "structure",
    "energy",
    "correction",
    "composition",
    "entry_id",
    "parameters",
    "energy_adjustments",
    "data",
)


def _owns(entry: Mapping[str, Any]) -> bool:
    return "structure" in entry and (
        entry.get("@class") == "ComputedStructureEntry"
        or {"energy", "correction", "entry_id"} <= entry.keys()
    )


def _convert(entry: Mapping[str, Any]) -> Structure:
    found = any_structure(entry["structure"])
    data = entry.get("data") if isinstance(entry.get("data"), Mapping) else {}
    labels, extra = labels_of(data or {})
    more, about = labels_of(entry, skip=_OWN)
    labels |= found.get("labels", {}) | more
    extra |= found.get("extra", {}) | about
    if parameters := entry.get("parameters"):
        extra["parameters"] = parameters
    if entry.get("energy") is not None:
        energy, correction = float(entry["energy"]), entry.get("correction")
        labels.pop("energy", None)
        if correction is None:
            labels["energy"] = energy
        else:
            labels |= {"uncorrected_energy": energy, "corrected_energy": energy + float(correction)}
    found |= {"labels": labels, "extra": extra}
    return found | ({"sample_id": str(entry["entry_id"])} if entry.get("entry_id") is not None else {})


DIALECT = Dialect(
    name="ComputedStructureEntry JSON",
    files="*.json of pymatgen, Materials Project and Alexandria",
    labels="uncorrected_energy and corrected_energy (eV), and the values of data with their own names",
    hints=(b'"ComputedStructureEntry"',),
    owns=_owns,
    convert=_convert,
)
