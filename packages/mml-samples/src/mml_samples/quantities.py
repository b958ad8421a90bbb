"""Kinds, shapes and units of the labels that the packages know by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["scalar", "per_atom", "vector", "tensor", "spectrum", "class"]
"""Kind of a target.

========== ================ =================================
kind       shape            examples
========== ================ =================================
`scalar`   a number         energy, band gap
`per_atom` [N, ...]         forces
`vector`   [1, 3]           dipole moment
`tensor`   [1, 3, 3]        stress, dielectric tensor
`spectrum` [1, M]           density of states
`class`    an integer       crystal system, metal or not
========== ================ =================================
"""


@dataclass(frozen=True)
class Quantity:
    """Properties of a label that is known by its name.

    Attributes
    ----------
    kind
        Kind of the target.
    row
        Shape of the label of an atom if the kind is ``"per_atom"``, otherwise of the structure. None if the
        shape depends on the data set.
    unit
        Unit, or None if it depends on the data set.
    extensive
        Whether the label is proportional to the number of atoms if the structure is repeated.
    """

    kind: Kind
    row: tuple[int, ...] | None
    unit: str | None
    extensive: bool = False


_FORCE = Quantity("per_atom", (3,), "eV/angstrom")

QUANTITIES: dict[str, Quantity] = {
    "energy": Quantity("scalar", (), "eV", extensive=True),
    "force": _FORCE,
    "forces": _FORCE,
    "stress": Quantity("tensor", (3, 3), "eV/angstrom^3"),
    "virial": Quantity("tensor", (3, 3), "eV", extensive=True),
    "dipole": Quantity("vector", (3,), "e*angstrom"),
    "polarizability": Quantity("tensor", (3, 3), None, extensive=True),
    "quadrupole": Quantity("tensor", (3, 3), None),
    "dielectric": Quantity("tensor", (3, 3), None),
    "born_charges": Quantity("per_atom", (3, 3), "e"),
    "charges": Quantity("per_atom", (), "e"),
    "magmom": Quantity("per_atom", (), "Bohr magneton"),
    "dos": Quantity("spectrum", None, None),
}
"""Known quantities by the name of the target."""
