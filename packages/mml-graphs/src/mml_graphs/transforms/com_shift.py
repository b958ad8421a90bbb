"""Move the centre of mass to the origin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from mml_graphs._repr import pasteable_repr
from mml_graphs.transforms._arrays import floats, positions, tensor
from mml_graphs.transforms._errors import key_name, naming
from mml_graphs.transforms._graphs import change_atoms
from mml_graphs.transforms._masses import atomic_masses


def center_of_mass(pos: torch.Tensor, masses: torch.Tensor) -> torch.Tensor:
    """Return the mean position, weighted by mass.

    Parameters
    ----------
    pos
        [N, 3], angstrom.
    masses
        [N], in any unit.

    Returns
    -------
    Tensor
        [3] float64, angstrom.

    Raises
    ------
    ValueError
        If a mass is negative or not finite, or all are zero.
    """
    weights = masses.to(torch.float64)
    if not (weights.isfinite() & (weights >= 0)).all() or not weights.sum() > 0:
        raise ValueError(f"masses {masses.tolist()} have no centre; expected finite ones, not negative")
    return weights @ pos.to(torch.float64) / weights.sum()


class COMShift:
    """Shift the atoms so that their centre of mass is the origin.

    The centre is that of the atoms as they are stored, whatever image of a periodic structure that is. All
    atoms move alike, so ``cell``, ``images``, ``offsets`` and every edge vector stay. Positions are shifted
    in the graph and in the sample, wherever they are; ``structure`` and ``frac_coords``, over which ``pos``
    wins, stay as they were.

    Parameters
    ----------
    pos_key
        Which positions to shift, angstrom.
    mass_key
        ``"atomic_numbers"`` takes the standard atomic masses of these elements (pymatgen's, in u); any other
        key is taken as masses [N]; None weighs all atoms alike.

    Raises
    ------
    ValueError
        If a key is missing or its values cannot be; the message names the sample and the key.
    """

    is_random = False

    def __init__(self, pos_key: str = "pos", mass_key: str | None = "atomic_numbers") -> None:
        self.pos_key = key_name("pos_key", pos_key)
        self.mass_key = None if mass_key is None else key_name("mass_key", mass_key)

    def __call__(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        """Return a copy of the sample with its atoms shifted."""
        with naming(sample):
            return change_atoms(sample, self.pos_key, self._shifted)

    def _shifted(self, atoms: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        pos = positions(atoms, self.pos_key)
        center = center_of_mass(pos, self._masses(atoms, len(pos)))
        return {self.pos_key: (pos.to(torch.float64) - center).to(pos.dtype)}

    def _masses(self, atoms: Mapping[str, Any], n_atoms: int) -> torch.Tensor:
        if self.mass_key is None:
            return torch.ones(n_atoms)
        if self.mass_key not in atoms:
            raise ValueError(
                f"{self.mass_key!r} is missing beside {self.pos_key!r}; give it, or say mass_key=None to "
                "weigh all atoms alike"
            )
        value = atoms[self.mass_key]
        if self.mass_key == "atomic_numbers":
            masses = atomic_masses(tensor(self.mass_key, value))
        else:
            masses = floats(self.mass_key, value)
        if masses.shape != (n_atoms,):
            raise ValueError(f"{self.mass_key!r} has shape {list(masses.shape)}, expected [{n_atoms}]")
        return masses

    def __repr__(self) -> str:
        return pasteable_repr(self)
