"""Shift the center of mass of a sample to the origin."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from mml_samples import Array, Sample

from mml_graphs._repr import pasteable_repr
from mml_graphs.transforms._arrays import floats, positions, tensor
from mml_graphs.transforms._errors import key_name, naming
from mml_graphs.transforms._graphs import change_atoms
from mml_graphs.transforms._masses import atomic_masses


def center_of_mass(pos: torch.Tensor, masses: torch.Tensor) -> torch.Tensor:
    """Compute the mass-weighted mean of positions.

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
        If a mass is negative or not finite, or all masses are zero.
    """
    weights = masses.to(torch.float64)
    if not (weights.isfinite() & (weights >= 0)).all() or not weights.sum() > 0:
        raise ValueError(f"masses must be finite, not negative, and not all zero, got {masses.tolist()}")
    return weights @ pos.to(torch.float64) / weights.sum()


class COMShift:
    """Shift the atoms so that their center of mass is the origin.

    The center of mass is computed from the positions as they are stored, so for a periodic structure, it
    depends on the stored images of the atoms. All atoms move by the same vector. ``cell``, ``images``,
    ``offsets`` and all edge vectors therefore do not change. Positions are shifted in the graph and in the
    sample, if present. ``structure`` and ``frac_coords``, over which ``pos`` takes precedence, are not
    changed.

    Parameters
    ----------
    pos_key
        Key of the positions to shift, angstrom.
    mass_key
        Key of the weights of the atoms. ``"atomic_numbers"`` selects the standard atomic masses of these
        elements (from pymatgen, in u). The values of any other key are used as masses [N]. ``None`` gives all
        atoms the same weight.

    Raises
    ------
    ValueError
        If a key is missing or its values are invalid. The message names the sample and the key.
    """

    is_random = False

    def __init__(self, pos_key: str = "pos", mass_key: str | None = "atomic_numbers") -> None:
        self.pos_key = key_name("pos_key", pos_key)
        self.mass_key = None if mass_key is None else key_name("mass_key", mass_key)

    def __call__(self, sample: Sample) -> Sample:
        """Return a copy of the sample with shifted atoms."""
        with naming(sample):
            return change_atoms(sample, self.pos_key, self._shifted)

    def _shifted(self, atoms: Mapping[str, Array]) -> dict[str, torch.Tensor]:
        pos = positions(atoms, self.pos_key)
        center = center_of_mass(pos, self._masses(atoms, len(pos)))
        return {self.pos_key: (pos.to(torch.float64) - center).to(pos.dtype)}

    def _masses(self, atoms: Mapping[str, Array], num_atoms: int) -> torch.Tensor:
        if self.mass_key is None:
            return torch.ones(num_atoms)
        if self.mass_key not in atoms:
            raise ValueError(
                f"{self.mass_key!r} is missing beside {self.pos_key!r}. Add it, or pass mass_key=None to "
                "weight all atoms equally."
            )
        value = atoms[self.mass_key]
        if self.mass_key == "atomic_numbers":
            masses = atomic_masses(tensor(self.mass_key, value))
        else:
            masses = floats(self.mass_key, value)
        if masses.shape != (num_atoms,):
            raise ValueError(f"{self.mass_key!r} has shape {list(masses.shape)}, expected [{num_atoms}]")
        return masses

    def __repr__(self) -> str:
        return pasteable_repr(self)
