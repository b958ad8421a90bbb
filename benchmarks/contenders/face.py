"""The interface of all contenders, and the structures that they read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

CUTOFF = 6.0  # angstrom, the same for all contenders


class Crystal(NamedTuple):
    """One structure, periodic in all three directions.

    Attributes
    ----------
    numbers
        [N] int64, atomic numbers.
    positions
        [N, 3] float64, Cartesian, angstrom.
    cell
        [3, 3] float64, rows are the lattice vectors, angstrom.
    """

    numbers: NDArray[np.int64]
    positions: NDArray[np.float64]
    cell: NDArray[np.float64]


@dataclass(frozen=True)
class Method:
    """One way to convert a structure to a graph.

    Attributes
    ----------
    prepare
        Converts a crystal to the object that users of the library keep in memory. Not timed.
    convert
        Converts that object to a graph.
    count_edges
        Returns the number of directed edges in the result of `convert`.
    collate
        Converts a list of the objects to a batch, as the library does. None if the library has no batches.
    returns
        The arrays with one row per edge in the result of `convert`.
    """

    prepare: Callable[[Crystal], Any]
    convert: Callable[[Any], Any]
    count_edges: Callable[[Any], int]
    collate: Callable[[list[Any]], Any] | None = None
    returns: str = ""


def save(path: Path, groups: dict[str, list[Crystal]]) -> None:
    """Write groups of crystals to a `.npz` file."""
    arrays = {}
    for name, crystals in groups.items():
        arrays[f"{name}/natoms"] = np.array([len(crystal.numbers) for crystal in crystals])
        arrays[f"{name}/numbers"] = np.concatenate([crystal.numbers for crystal in crystals])
        arrays[f"{name}/positions"] = np.concatenate([crystal.positions for crystal in crystals])
        arrays[f"{name}/cells"] = np.stack([crystal.cell for crystal in crystals])
    np.savez(path, **arrays)  # type: ignore[arg-type] # the stub mistakes the names for options


def load(path: Path) -> dict[str, list[Crystal]]:
    """Read a file written by `save`. Every crystal owns its arrays."""
    groups: dict[str, list[Crystal]] = {}
    with np.load(path) as file:
        for name in sorted({key.split("/")[0] for key in file}):
            ends = np.cumsum(file[f"{name}/natoms"])
            numbers = np.split(file[f"{name}/numbers"], ends[:-1])
            positions = np.split(file[f"{name}/positions"], ends[:-1])
            cells = file[f"{name}/cells"]
            groups[name] = [
                Crystal(n.copy(), p.copy(), c.copy())
                for n, p, c in zip(numbers, positions, cells, strict=True)
            ]
    return groups


def to_ase(crystal: Crystal) -> Any:
    """Return an ASE `Atoms`."""
    from ase import Atoms

    return Atoms(crystal.numbers, positions=crystal.positions, cell=crystal.cell, pbc=True)


def to_pymatgen(crystal: Crystal) -> Any:
    """Return a pymatgen `Structure`."""
    from pymatgen.core import Element, Lattice, Structure

    species = [Element.from_Z(number) for number in crystal.numbers.tolist()]
    return Structure(Lattice(crystal.cell), species, crystal.positions, coords_are_cartesian=True)
