"""Read the ``XDATCAR`` of VASP, and the energies of its ``OSZICAR``.

``XDATCAR`` has no labels (https://www.vasp.at/wiki/index.php/XDATCAR). The number in ``Direct configuration=
n`` is the number of the ionic step, which ``OSZICAR`` lists with the free energy ``F`` and the energy ``E0``
extrapolated to zero smearing, both in eV (https://www.vasp.at/wiki/index.php/OSZICAR).
"""

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

import numpy as np
from mml_samples import atomic_number

from mml_data.importers.compressed import open_decompressed
from mml_data.importers.formats import Format
from mml_data.importers.source import Item, Structure

__all__ = ["FORMAT", "read_oszicar", "read_xdatcar"]

_CONFIGURATION = re.compile(r"^\s*Direct configuration\s*=\s*(\d+)")
_STEP = re.compile(r"^\s*(\d+)\s.*\bF=\s*(\S+)\s+E0=\s*(\S+)")


def read_oszicar(path: Path) -> dict[int, dict[str, float]]:
    """Return the labels ``energy`` and ``free_energy`` of each ionic step by its number."""
    with open_decompressed(path) as file:
        steps = [match for line in file if (match := _STEP.match(line.decode("latin-1")))]
    return {int(step[1]): {"energy": float(step[3]), "free_energy": float(step[2])} for step in steps}


def read_xdatcar(path: Path, energies: Mapping[int, dict[str, float]] | None = None) -> Iterator[Item]:
    """Yield the configurations of an ``XDATCAR``, with the energies of the ionic steps with their numbers.

    If the file is damaged or truncated, the configurations before the damage are followed by an error.
    """
    count = 0
    try:
        with open_decompressed(path) as file:
            lines = (line.decode("latin-1") for line in file)
            header: list[str] = []
            cell, numbers = np.zeros((3, 3)), list[int]()
            for line in lines:
                match = _CONFIGURATION.match(line)
                if match is None:
                    header.append(line)
                    continue
                if header:
                    cell, numbers = _header(header)
                    header = []
                rows = [row.split()[:3] for row in islice(lines, len(numbers))]
                if len(rows) < len(numbers):
                    raise ValueError("the file ends within a configuration")
                structure: Structure = {
                    "atomic_numbers": numbers,
                    "positions": np.array(rows, dtype=np.float64) @ cell,
                    "cell": cell,
                    "pbc": [True] * 3,
                    "labels": dict((energies or {}).get(int(match[1]), {})),
                    "extra": {"ionic_step": int(match[1])},
                }
                count += 1
                yield f"{path}:frame {count}", structure
    except (ValueError, IndexError, EOFError, OSError) as error:
        yield f"{path}:frame {count + 1}", ValueError(f"the file is damaged or truncated here: {error}")


def _header(lines: list[str]) -> tuple[np.ndarray, list[int]]:
    """Return the cell, [3, 3], and the atomic numbers, [N]."""
    if len(lines) < 7:
        raise ValueError(f"the header must have seven lines, got {len(lines)}")
    scale, *vectors = (np.array(line.split(), dtype=np.float64) for line in lines[1:5])
    symbols, counts = lines[5].split(), [int(word) for word in lines[6].split()]
    elements = [atomic_number(symbol.split("_")[0].split("/")[0]) for symbol in symbols]
    return float(scale[0]) * np.array(vectors), [
        z for z, n in zip(elements, counts, strict=True) for _ in range(n)
    ]


FORMAT = Format(
    name="VASP XDATCAR",
    files="XDATCAR",
    labels="none; energy and free_energy (eV) if OSZICAR is in the same folder",
    matches=lambda name, head: b"Direct configuration=" in head,
    read=read_xdatcar,
    catches_warnings=False,
)
