"""Read the molecules of QM9 in their original format (``dsgdb9nsd_*.xyz``).

The second line has the tag ``gdb``, an index and 15 properties, see the readme of
https://doi.org/10.6084/m9.figshare.978904: the rotational constants A, B and C (GHz), the dipole moment mu
(debye), the polarizability alpha (bohr^3), homo, lumo, gap (hartree), the electronic spatial extent r2
(bohr^2), zpve (hartree), the internal energies U0 and U at 0 and 298.15 K, the enthalpy H and the free
energy G at 298.15 K (hartree), and the heat capacity Cv (cal/(mol K)). An atom has a symbol, a position
(angstrom) and a Mulliken charge (e). The vibrational frequencies (1/cm), SMILES and InChI follow. Numbers
such as ``8.0*^-6`` are 8.0e-6.

Hartree is converted to eV. The other properties keep their units. None of the energies is the potential
energy of the nuclei, which is U0 - zpve; therefore, no label is called ``energy``.
"""

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from mml_samples import atomic_number

from mml_data.importers.formats import Format
from mml_data.importers.readers.units import HARTREE
from mml_data.importers.source import Item, Structure

__all__ = ["FORMAT", "PROPERTIES", "read_qm9"]

PROPERTIES = ("A", "B", "C", "mu", "alpha", "homo", "lumo", "gap", "r2", "zpve", "U0", "U", "H", "G", "Cv")
"""Names of the 15 properties in the order of the file."""

_ENERGIES = ("homo", "lumo", "gap", "zpve", "U0", "U", "H", "G")
_SECOND_LINE = re.compile(rb"^(?:\xef\xbb\xbf)?\s*\d+\s*\n\s*gdb\s+\d+\s")


def read_qm9(path: Path) -> Iterator[Item]:
    """Yield the molecules of a file, which usually contains one."""
    count = 0
    with path.open(encoding="utf-8-sig") as lines:
        try:
            for line in lines:
                if line.strip():
                    count += 1
                    yield (
                        f"{path}:frame {count}",
                        _molecule(int(line), [each.rstrip("\n") for each in _block(lines, line)]),
                    )
        except (ValueError, IndexError) as error:
            yield (
                f"{path}:frame {max(count, 1)}",
                ValueError(f"the molecule is damaged or truncated: {error}"),
            )


def _block(lines: Iterator[str], first: str) -> list[str]:
    block = list(islice(lines, int(first) + 4))
    if len(block) < int(first) + 1:
        raise ValueError(f"expected {first.strip()} atoms, got {max(len(block) - 1, 0)} lines")
    return block


def _molecule(num_atoms: int, block: list[str]) -> Structure:
    tag, index, *values = block[0].split()
    if tag != "gdb" or len(values) != len(PROPERTIES):
        raise ValueError(f"expected 'gdb', an index and {len(PROPERTIES)} numbers, got {block[0]!r}")
    labels = {
        name: _number(value) * (HARTREE if name in _ENERGIES else 1.0)
        for name, value in zip(PROPERTIES, values, strict=True)
    }
    rows = [line.split() for line in block[1 : num_atoms + 1]]
    numbers = np.array([[_number(word) for word in row[1:5]] for row in rows], dtype=np.float64).reshape(
        -1, 4
    )
    frequencies, smiles, inchi = ([line.split() for line in block[num_atoms + 1 :]] + [[], [], []])[:3]
    return {
        "atomic_numbers": [atomic_number(row[0]) for row in rows],
        "positions": numbers[:, :3],
        "cell": None,
        "pbc": [False] * 3,
        "labels": labels,
        "atom_labels": {"mulliken_charges": numbers[:, 3]},
        "extra": {"frequencies": [_number(word) for word in frequencies], "smiles": smiles, "inchi": inchi},
        "sample_id": f"{tag}_{index}",
    }


def _number(text: str) -> float:
    return float(text.replace("*^", "e"))


FORMAT = Format(
    name="QM9 xyz",
    files="dsgdb9nsd_*.xyz",
    labels=(
        "homo, lumo, gap, zpve, U0, U, H, G (hartree, converted to eV); A, B, C (GHz), mu (debye), "
        "alpha (bohr^3), r2 (bohr^2), Cv (cal/(mol K)); mulliken_charges (e)"
    ),
    matches=lambda name, head: _SECOND_LINE.match(head) is not None,
    read=read_qm9,
    catches_warnings=False,
)
