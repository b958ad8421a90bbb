"""Read arrays from the structure objects of pymatgen and ASE, recognized by their attributes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

_composition, _amount, _number = attrgetter("species"), attrgetter("num_atoms"), attrgetter("Z")
_coordinates = attrgetter("coords")


def is_ase(structure: object) -> bool:
    """Return whether an object is an ASE ``Atoms``, and not a pymatgen ``Structure`` or ``Molecule``.

    Raises
    ------
    ValueError
        If it is neither.
    """
    if hasattr(structure, "get_positions"):
        return True
    if hasattr(type(structure), "cart_coords"):
        return False
    raise ValueError(
        f"'structure' is of type {type(structure).__name__}, expected a pymatgen Structure or an ASE Atoms"
    )


def atomic_numbers(structures: Sequence[Any]) -> NDArray[np.int64]:
    """Return the atomic numbers [N] of one or several structures of the same library.

    Raises
    ------
    ValueError
        If a site of a pymatgen structure does not consist of a single element.
    """
    if is_ase(structures[0]):
        return np.concatenate([atoms.numbers for atoms in structures])
    compositions = list(map(_composition, chain.from_iterable(structures)))
    elements = list(chain.from_iterable(compositions))
    # Unlike `Structure.atomic_numbers`, this visits each site once, in loops that are not Python code.
    if len(elements) != len(compositions) or {*map(_amount, compositions)} - {1}:
        raise ValueError("'structure' has sites that do not consist of a single element. Order it first.")
    return np.array(list(map(_number, elements)), dtype=np.int64)


def positions(structures: Sequence[Any]) -> NDArray[np.float64]:
    """Return the Cartesian positions [N, 3] of one or several structures of the same library, angstrom."""
    if is_ase(structures[0]):
        return np.concatenate([atoms.positions for atoms in structures])
    coordinates = list(map(_coordinates, chain.from_iterable(structures)))
    return np.concatenate(coordinates or [np.empty(0)]).reshape(-1, 3)


def lattice(structure: Any) -> tuple[NDArray[np.float64], NDArray[np.bool_]] | None:
    """Return the lattice vectors [3, 3], angstrom, and the periodicity [3], or ``None`` for a molecule."""
    if is_ase(structure):
        return (structure.cell.array, structure.pbc) if structure.cell.any() or structure.pbc.any() else None
    box = getattr(structure, "lattice", None)
    return None if box is None else (box.matrix, np.array(box.pbc, dtype=np.bool_))
