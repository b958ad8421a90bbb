"""Read configurations of MLIP (moment tensor potentials): ``BEGIN_CFG`` ... ``END_CFG``.

Energies are in eV, positions in angstrom, forces in eV/angstrom. ``PlusStress`` is the virial in eV, whose
components are named in its line (usually xx yy zz yz xz xy); ``Stress`` has the opposite sign. The label
``stress`` is -PlusStress / volume. A ``Supercell`` has zero to three vectors, one for each periodic
direction.

Atoms have types, 0, 1 and so on, whose elements a file does not name; they are an argument. ``Feature``
values are stored under ``extra``.

Sources: I. S. Novikov et al., Mach. Learn.: Sci. Technol. 2, 025002 (2021), and the method
``Configuration::LoadNew`` in https://gitlab.com/ashapeev/mlip-2/-/blob/master/src/configuration.cpp.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mml_samples import atomic_number

from mml_data.importers.formats import Format
from mml_data.importers.readers.units import stress_from_virial, symmetric
from mml_data.importers.source import Item, Structure

__all__ = ["FORMAT", "read_cfg"]


def read_cfg(path: Path, elements: Sequence[str] = ()) -> Iterator[Item]:
    """Yield the configurations of a file.

    Parameters
    ----------
    path
        Path of the file.
    elements
        Symbols of the elements of the types 0, 1 and so on.
    """
    count = 0
    block: list[str] | None = None
    with path.open(encoding="utf-8-sig") as lines:
        for line in lines:
            word = line.strip()
            if word == "BEGIN_CFG":
                block = []
            elif word == "END_CFG" and block is not None:
                count += 1
                try:
                    yield f"{path}:frame {count}", _configuration(block, elements)
                except (ValueError, IndexError) as error:
                    yield f"{path}:frame {count}", ValueError(f"the configuration cannot be read: {error}")
                block = None
            elif block is not None and word:
                block.append(word)
    if block is not None:
        yield f"{path}:frame {count + 1}", ValueError("the file ends within a configuration; it is truncated")


def _configuration(block: list[str], elements: Sequence[str]) -> Structure:
    size, cell, energy, features = 0, np.zeros((0, 3)), None, dict[str, str]()
    virial: np.ndarray | None = None
    columns: dict[str, np.ndarray] = {}
    lines = iter(block)
    for line in lines:
        key, _, rest = line.partition(" ")
        key = key.rstrip(":").lower()
        if key == "size":
            size = int(next(lines))
        elif key == "supercell":
            vectors = []
            following = block[block.index(line) + 1 :]
            for row in following:
                if not row[0].isdigit() and row[0] not in "+-.":
                    break
                vectors.append([float(word) for word in next(lines).split()])
            cell = np.array(vectors)
        elif key == "atomdata":
            names = rest.split()
            table = np.array([next(lines).split() for _ in range(size)], dtype=np.float64).reshape(
                size, len(names)
            )
            columns = {name: table[:, number] for number, name in enumerate(names)}
        elif key == "energy":
            energy = float(next(lines))
        elif key in ("plusstress", "stress", "virial"):
            order = tuple(rest.split())
            virial = symmetric([float(word) for word in next(lines).split()], order) * (
                -1 if key == "stress" else 1
            )
        elif key == "feature":
            name, _, value = rest.strip().partition(" ")
            features[name] = value.strip()
        else:
            raise ValueError(f"unknown field {line!r}")
    full = np.zeros((3, 3))
    full[: len(cell)] = cell
    structure: dict[str, Any] = {
        "atomic_numbers": _numbers(columns["type"], elements),
        "positions": _positions(columns, full),
        "cell": full if len(cell) else None,
        "pbc": [number < len(cell) for number in range(3)],
        "labels": {} if energy is None else {"energy": energy},
        "atom_labels": {},
        "extra": features,
    }
    if "fx" in columns:
        structure["atom_labels"]["forces"] = np.stack([columns[f"f{axis}"] for axis in "xyz"], axis=1)
    for name in ("charge", "site_en"):
        if name in columns:
            structure["atom_labels"][f"atom_{name}"] = columns[name]
    if virial is not None and len(cell) == 3:
        structure["labels"]["stress"] = stress_from_virial(virial, full)
    return structure


def _numbers(types: np.ndarray, elements: Sequence[str]) -> list[int]:
    needed = int(types.max()) + 1 if types.size else 0
    if len(elements) < needed:
        raise ValueError(
            f"the file has the types 0 to {needed - 1} but does not name their elements; pass their "
            "symbols with elements=[...] (--elements A B ...)"
        )
    known = [atomic_number(symbol) for symbol in elements]
    return [known[int(number)] for number in types]


def _positions(columns: dict[str, np.ndarray], cell: np.ndarray) -> np.ndarray:
    kind = "cartes" if "cartes_x" in columns else "direct"
    positions = np.stack([columns[f"{kind}_{axis}"] for axis in "xyz"], axis=1)
    return positions if kind == "cartes" else positions @ cell


FORMAT = Format(
    name="MTP cfg",
    files="*.cfg, *.cfgs of MLIP",
    labels="energy (eV), forces (eV/angstrom), PlusStress (virial in eV, converted to stress)",
    matches=lambda name, head: head.lstrip().startswith(b"BEGIN_CFG"),
    read=read_cfg,
    takes_elements=True,
    catches_warnings=False,
)
