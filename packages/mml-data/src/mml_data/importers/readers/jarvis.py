"""Read the data sets of JARVIS-DFT (``jdft_3d-*.json``) in the format of ``jarvis.db.figshare.data``.

The file is a list of entries with the identifier ``jid``, the structure ``atoms`` (see
`mml_data.importers.readers.any_structure`) and properties. Missing properties are the text ``"na"``.
Energies such as ``optb88vdw_total_energy`` and ``formation_energy_peratom`` are in eV per atom, band gaps in
eV, moduli in GPa. The properties keep their names and units.

Source: https://jarvis-tools.readthedocs.io/en/master/databases.html.
"""

from collections.abc import Mapping
from typing import Any

from mml_data.importers.readers.any_structure import any_structure, labels_of
from mml_data.importers.readers.dialect import Dialect
from mml_data.importers.source import Structure

__all__ = ["DIALECT"]


def _owns(entry: Mapping[str, Any]) -> bool:
    return isinstance(entry.get("atoms"), Mapping) and "lattice_mat" in entry["atoms"]


def _convert(entry: Mapping[str, Any]) -> Structure:
    found = any_structure(entry["atoms"])
    labels, extra = labels_of(entry, skip=("atoms", "jid"))
    found |= {"labels": labels, "extra": found.get("extra", {}) | extra}
    return found | ({"sample_id": entry["jid"]} if entry.get("jid") else {})


DIALECT = Dialect(
    name="JARVIS JSON",
    files="jdft_3d-*.json, jdft_2d-*.json",
    labels=(
        "formation_energy_peratom, optb88vdw_total_energy (eV per atom), optb88vdw_bandgap (eV), "
        'bulk_modulus_kv (GPa), and further properties with their own names; "na" is missing'
    ),
    hints=(b'"lattice_mat"', b'"atoms"'),
    owns=_owns,
    convert=_convert,
)
