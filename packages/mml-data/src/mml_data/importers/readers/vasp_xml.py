"""Read ``vasprun.xml`` of VASP, one calculation (ionic step) after the other.

Energies are in eV, forces in eV/angstrom, and stresses in kilobar with the sign of VASP
(https://www.vasp.at/wiki/index.php/Vasprun.xml). As in ASE (`ase.io.vasp`), the label ``energy`` is the
energy extrapolated to zero smearing: the free energy ``e_fr_energy`` of the calculation without the work of
``PSTRESS``, plus the difference of ``e_0_energy`` and ``e_fr_energy`` in the last electronic step, because
``e_0_energy`` of the calculation itself contains another value in many versions of VASP.

``extra.converged`` is false if the number of electronic steps reached ``NELM``.
"""

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from mml_samples import atomic_number

from mml_data.importers.compressed import open_decompressed
from mml_data.importers.formats import Format
from mml_data.importers.readers.units import KBAR, stress_from_vasp
from mml_data.importers.source import Item, Structure

__all__ = ["FORMAT", "read_vasprun"]

_CUT_SYMBOLS = {"r": "Zr", "X": "Xe"}  # VASP writes these two symbols incompletely
_UNUSED = ("dos", "eigenvalues", "projected", "dynmat")


def read_vasprun(path: Path) -> Iterator[Item]:
    """Yield the calculations of a ``vasprun.xml``.

    If the file is truncated, the complete calculations are followed by an error.
    """
    numbers: list[int] = []
    parameters: dict[str, float] = {}
    fixed: np.ndarray | None = None
    count = 0
    try:
        with open_decompressed(path) as file:
            for _, element in ET.iterparse(file, events=("end",)):
                if element.tag == "atominfo":
                    numbers = [
                        _atomic_number(row[0].text) for row in element.iterfind("array[@name='atoms']/set/rc")
                    ]
                elif element.tag == "parameters":
                    found = {each.get("name"): each.text for each in element.iter("i")}
                    parameters = {name: float(found[name]) for name in ("NELM", "PSTRESS") if found.get(name)}
                elif element.tag == "structure" and element.get("name") == "initialpos":
                    flags = [
                        row.text.split()
                        for row in element.iterfind("varray[@name='selective']/v")
                        if row.text
                    ]
                    fixed = np.array(flags) == "F" if flags else None
                elif element.tag == "calculation":
                    count += 1
                    yield f"{path}:frame {count}", _step(element, numbers, parameters, fixed)
                    element.clear()
                elif element.tag in _UNUSED:
                    element.clear()
    except (ET.ParseError, EOFError, OSError) as error:
        yield f"{path}:frame {count + 1}", ValueError(f"the file is damaged or truncated here: {error}")


def _atomic_number(text: str | None) -> int:
    symbol = (text or "").strip()
    return atomic_number(_CUT_SYMBOLS.get(symbol, symbol))


def _step(
    step: ET.Element, numbers: list[int], parameters: dict[str, float], fixed: np.ndarray | None
) -> Structure | Exception:
    try:
        cell = _array(step, "structure/crystal/varray[@name='basis']")
        positions = _array(step, "structure/varray[@name='positions']") @ cell
        free_energy = _number(step, "energy/i[@name='e_fr_energy']")
        free_energy -= parameters.get("PSTRESS", 0.0) * KBAR * abs(float(np.linalg.det(cell)))
        electronic = step.findall("scstep")
        shift = 0.0
        if electronic:
            last = electronic[-1]
            shift = _number(last, "energy/i[@name='e_0_energy']") - _number(
                last, "energy/i[@name='e_fr_energy']"
            )
        extra: dict[str, Any] = {"electronic_steps": len(electronic)}
        if "NELM" in parameters and electronic:
            extra["converged"] = len(electronic) < parameters["NELM"]
        structure: Structure = {
            "atomic_numbers": numbers,
            "positions": positions,
            "cell": cell,
            "pbc": [True] * 3,
            "labels": {"energy": free_energy + shift, "free_energy": free_energy},
            "atom_labels": {},
            "extra": extra,
        }
        if step.find("varray[@name='forces']") is not None:
            structure["atom_labels"]["forces"] = _array(step, "varray[@name='forces']")
        if step.find("varray[@name='stress']") is not None:
            structure["labels"]["stress"] = stress_from_vasp(_array(step, "varray[@name='stress']"))
    except ValueError as error:
        return error
    if fixed is not None:
        structure["atom_labels"]["fixed"] = fixed.all(axis=1)
        if (fixed.any(axis=1) != fixed.all(axis=1)).any():
            extra["fixed_directions"] = fixed
    if not electronic:
        structure["warnings"] = [
            "the step has no electronic steps; its labels are those of a force field of VASP"
        ]
    return structure


def _array(element: ET.Element, path: str) -> np.ndarray:
    """Return the vectors of a ``varray``, [n, 3]."""
    rows = element.findall(f"{path}/v")
    if not rows:
        raise ValueError(f"the calculation has no {path!r}")
    return np.array([(row.text or "").split() for row in rows], dtype=np.float64)


def _number(element: ET.Element, path: str) -> float:
    text = element.findtext(path)
    if text is None:
        raise ValueError(f"the calculation has no {path!r}")
    return float(text)


FORMAT = Format(
    name="VASP XML",
    files="vasprun.xml",
    labels="energy (zero smearing), free_energy (eV), forces (eV/angstrom), stress (kilobar, converted)",
    matches=lambda name, head: b"<modeling>" in head[:1000],
    read=read_vasprun,
    catches_warnings=False,
)
