"""Read the ``OUTCAR`` of VASP, one ionic step after the other.

Energies are in eV, forces in eV/angstrom, and stresses (``in kB``) in kilobar, in the order XX YY ZZ XY YZ
ZX and with the sign of VASP (https://www.vasp.at/wiki/index.php/OUTCAR). As in ASE (`ase.io.vasp_parsers`),
the label ``energy`` is the energy extrapolated to zero smearing, ``energy(sigma->0)``, and ``free_energy``
is ``TOTEN``.

``extra.converged`` is false if the electronic steps ended without the message ``EDIFF is reached`` after
``NELM`` steps.
"""

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from mml_samples import atomic_number

from mml_data.importers.compressed import open_decompressed
from mml_data.importers.formats import Format
from mml_data.importers.readers.units import stress_from_vasp
from mml_data.importers.source import Item, Structure

__all__ = ["FORMAT", "read_outcar"]

_GLUED = re.compile(r"(?<=\d)-(?=\d)")
_ITERATION = re.compile(r"Iteration\s+\d+\(\s*(\d+)\)")


def read_outcar(path: Path) -> Iterator[Item]:
    """Yield the ionic steps of an ``OUTCAR``.

    If the file ends within an ionic step, the complete steps are followed by an error.
    """
    count = 0
    try:
        with open_decompressed(path) as file:
            lines = (line.decode("latin-1") for line in file)
            numbers, limit = _header(lines)
            for step in _steps(lines, numbers, limit):
                count += 1
                yield f"{path}:frame {count}", step
    except (ValueError, IndexError, EOFError, OSError) as error:
        yield f"{path}:frame {count + 1}", ValueError(f"the file is damaged or truncated here: {error}")


def _header(lines: Iterator[str]) -> tuple[list[int], int | None]:
    """Return the atomic numbers and the largest number of electronic steps, and stop before the first one."""
    potentials: list[str] = []
    counts: list[int] = []
    limit: int | None = None
    for line in lines:
        if line.startswith(" POTCAR:"):
            potentials.append(line.partition(":")[2])
        elif "ions per type =" in line:
            counts = [int(word) for word in line.partition("=")[2].split()]
        elif "NELM   =" in line:
            limit = int(line.partition("=")[2].split(";")[0])
        elif "Iteration" in line:
            break
    else:
        raise ValueError("there is no electronic step")
    potentials = potentials[: len(counts)]  # every potential is listed twice
    if not counts or len(potentials) != len(counts):
        raise ValueError(
            f"expected a POTCAR line for each of {len(counts)} types of atoms, got {len(potentials)}"
        )
    return [_element(text) for text, n in zip(potentials, counts, strict=True) for _ in range(n)], limit


def _element(potential: str) -> int:
    """Return the atomic number of a potential such as ``PAW_PBE Fe_pv 02Aug2007``."""
    words = potential.split()
    word = words[0] if "1/r potential" in potential else words[1]
    return atomic_number("".join(filter(str.isalpha, word.split("_")[0])))


def _steps(lines: Iterator[str], numbers: list[int], limit: int | None) -> Iterator[Structure]:
    found: dict[str, Any] = {}
    iteration, reached = 1, False
    for line in lines:
        if match := _ITERATION.search(line):
            iteration = int(match[1])
        elif "aborting loop because EDIFF is reached" in line:
            reached = True
        elif "direct lattice vectors" in line:
            found["cell"] = _numbers(lines, 3)[:, :3]
        elif line.startswith("  in kB "):
            found["stress"] = line.split()[2:]
        elif line.startswith(" POSITION    "):
            next(lines, "")
            table = _numbers(lines, len(numbers))
            found["positions"], found["forces"] = table[:, :3], table[:, 3:6]
        elif line.startswith(" magnetization (x)"):
            list(islice(lines, 3))
            found["magmom"] = _numbers(lines, len(numbers))[:, -1]
        elif line.startswith(" magnetization (y)"):
            found["noncollinear"] = True
        elif "FREE ENERGIE OF THE ION-ELECTRON SYSTEM" in line:
            energies = "".join(islice(lines, 4))
            yield _structure(found, energies, numbers) | {
                "extra": {
                    "electronic_steps": iteration,
                    "converged": reached or limit is None or iteration < limit,
                }
            }
            found = {"cell": found["cell"]}
            iteration, reached = 0, False
    if iteration or len(found) > 1:
        raise ValueError("the file ends within an ionic step")


def _structure(found: dict[str, Any], energies: str, numbers: list[int]) -> Structure:
    free = re.search(r"TOTEN\s*=\s*(\S+)", energies)
    zero = re.search(r"energy\(sigma->0\)\s*=\s*(\S+)", energies)
    if free is None or zero is None or "positions" not in found or "cell" not in found:
        raise ValueError("the ionic step has no energy, positions or cell")
    structure: Structure = {
        "atomic_numbers": numbers,
        "positions": found["positions"],
        "cell": found["cell"],
        "pbc": [True] * 3,
        "labels": {"energy": float(zero[1]), "free_energy": float(free[1])},
        "atom_labels": {"forces": found["forces"]},
    }
    if "magmom" in found and not found.get("noncollinear"):
        structure["atom_labels"]["magmom"] = found["magmom"]
    if "stress" in found:
        try:
            structure["labels"]["stress"] = stress_from_vasp([float(word) for word in found["stress"]])
        except ValueError:
            structure["warnings"] = [f"the stress cannot be read: in kB {' '.join(found['stress'])}"]
    return structure


def _numbers(lines: Iterator[str], count: int) -> np.ndarray:
    rows = [_GLUED.sub(" -", line).split() for line in islice(lines, count)]
    if len(rows) < count:
        raise ValueError("the file ends within a table")
    return np.array(rows, dtype=np.float64)


FORMAT = Format(
    name="VASP OUTCAR",
    files="OUTCAR, *.OUTCAR, OUTCAR.*",
    labels=(
        "energy (zero smearing) and free_energy (eV), forces (eV/angstrom), stress (kilobar of VASP, "
        "converted), magmom (Bohr magneton, collinear)"
    ),
    matches=lambda name, head: b"vasp." in head[:100] and b"POTCAR:" in head,
    read=read_outcar,
    catches_warnings=False,
)
