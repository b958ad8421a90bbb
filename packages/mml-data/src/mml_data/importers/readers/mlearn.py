"""Read the data of mlearn and maml: entries with a ``structure`` and ``outputs``.

``outputs`` has ``energy`` (eV, total), ``forces`` (eV/angstrom) and ``virial_stress``, six numbers whose
unit and order the data sets do not document. maml, which reads the same files, takes them as the numbers of
VASP, in VASP's order xx yy zz xy yz xz (``vasp_stress_order`` in
https://github.com/materialsvirtuallab/maml/blob/master/maml/apps/pes/_mtp.py).

The published data for Si, Mo and Cu (Zuo et al., J. Phys. Chem. A 124, 731, 2020) show:

- Unit and sign: kilobar, with the sign of VASP. In the series of strained cells, the derivative of the
  energy equals the work of the stress if one unit is -0.1002 to -0.0997 GPa for Si (60 cells, R2 1.000) and
  -0.1025 to -0.0985 GPa for Mo (60 cells, R2 0.998 to 1.000).
- Order: xx yy zz xy xz yz, LAMMPS's order, not maml's. With LAMMPS's order, the work explains the energies
  of Mo's cells with yz and xz shear (R2 0.998 and 0.999; 0.001 and 0.016 with maml's order). A pair
  potential fitted to the forces also predicts the last two components of the frames of molecular dynamics in
  LAMMPS's order (correlation 0.92 to 1.00 for Si, Mo and Cu).
- Exceptions: the groups ``Elastic`` of Si (R2 1.000; 0.87 with LAMMPS's order) and of Ge (one cell with yz
  shear was examined) have maml's order.

This reader therefore takes LAMMPS's order for the published data (entries with ``tag``, ``group``,
``description`` and ``element``) except for the groups ``Elastic`` of Si and Ge, and maml's order for all
other files. The data of Li and Ni were not examined.
"""

from collections.abc import Mapping
from typing import Any

from mml_data.importers.readers.any_structure import any_structure
from mml_data.importers.readers.dialect import Dialect
from mml_data.importers.readers.units import VASP_ORDER, stress_from_vasp
from mml_data.importers.source import Structure

__all__ = ["DIALECT"]

_LAMMPS_ORDER = ("xx", "yy", "zz", "xy", "xz", "yz")


def _stress_order(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the order of ``virial_stress`` in an entry, see the description of this module."""
    published = all(name in entry for name in ("tag", "group", "description", "element"))
    if not published or (entry["group"] == "Elastic" and entry["element"] in ("Si", "Ge")):
        return VASP_ORDER
    return _LAMMPS_ORDER


def _convert(entry: Mapping[str, Any]) -> Structure:
    found = any_structure(entry["structure"])
    outputs = dict(entry["outputs"])
    atom_labels = dict(found.get("atom_labels", {}))
    labels = dict(found.get("labels", {}))
    if outputs.get("forces") is not None:
        atom_labels["forces"] = outputs["forces"]
    if outputs.get("virial_stress") is not None:
        labels["stress"] = stress_from_vasp(outputs["virial_stress"], _stress_order(entry))
    labels |= {
        name: value
        for name, value in outputs.items()
        if name not in ("forces", "virial_stress") and value is not None
    }
    about = {name: value for name, value in entry.items() if name not in ("structure", "outputs")}
    return found | {"labels": labels, "atom_labels": atom_labels, "extra": found.get("extra", {}) | about}


DIALECT = Dialect(
    name="mlearn JSON",
    files="training.json, test.json of mlearn and maml",
    labels=(
        "energy (eV), forces (eV/angstrom), stress (virial_stress, kilobar of VASP, converted; unit "
        "and order are inferred, see the module mlearn)"
    ),
    hints=(b'"structure"', b'"outputs"'),
    owns=lambda entry: "structure" in entry and isinstance(entry.get("outputs"), Mapping),
    convert=_convert,
)
