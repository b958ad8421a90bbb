"""Read the JSON that dpdata writes with ``System.dump``: a ``System`` or ``LabeledSystem`` with its arrays.

``data`` has ``atom_names``, ``atom_types`` [N], ``coords`` [M, N, 3] (angstrom), ``cells`` [M, 3, 3]
(angstrom), ``energies`` [M] (eV), ``forces`` [M, N, 3] (eV/angstrom), ``virials`` [M, 3, 3] (eV) and
``nopbc``. The label ``stress`` is -virial / volume.

Source: https://docs.deepmodeling.com/projects/dpdata/en/master/systems/system.html and the classes in
https://github.com/deepmodeling/dpdata/blob/devel/dpdata/system.py.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mml_samples import atomic_number

from mml_data.importers.formats import Format
from mml_data.importers.readers.units import stress_from_virial
from mml_data.importers.source import Item, Structure

__all__ = ["FORMAT", "read_dpdata"]


def read_dpdata(path: Path) -> Iterator[Item]:
    """Yield the frames of a system. The file is read as a whole."""
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))["data"]
        names = data["atom_names"]
        numbers = [atomic_number(names[int(kind)]) for kind in _array(data["atom_types"])]
        arrays = {
            name: _array(data[name]).astype(np.float64)
            for name in ("coords", "cells", "energies", "forces", "virials")
            if data.get(name) is not None
        }
        count = len(arrays["coords"])
    except (KeyError, TypeError, ValueError) as error:
        yield str(path), ValueError(f"the system cannot be read: {error}")
        return
    periodic = not data.get("nopbc", False)
    for number in range(count):
        cell = arrays["cells"][number] if periodic and "cells" in arrays else None
        structure: Structure = {
            "atomic_numbers": numbers,
            "positions": arrays["coords"][number],
            "cell": cell,
            "pbc": [cell is not None] * 3,
            "labels": {"energy": float(arrays["energies"][number])} if "energies" in arrays else {},
            "atom_labels": {"forces": arrays["forces"][number]} if "forces" in arrays else {},
        }
        if "virials" in arrays and cell is not None:
            structure["labels"]["stress"] = stress_from_virial(arrays["virials"][number], cell)
        yield f"{path}:frame {number + 1}", structure


def _array(value: Any) -> np.ndarray:
    """Convert a list, or an array in monty's form ``{"@class": "array", "data": [...]}``."""
    return np.asarray(value["data"] if isinstance(value, Mapping) else value)


FORMAT = Format(
    name="dpdata JSON",
    files="*.json of dpdata",
    labels="energy (eV), forces (eV/angstrom), virials (eV, converted to stress)",
    matches=lambda name, head: b'"dpdata.' in head and head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"),
    read=read_dpdata,
    catches_warnings=False,
)
