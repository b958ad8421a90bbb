"""Scale the coordinates of a sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mml_samples import LATTICE_KEYS, Array, Sample

from mml_graphs._repr import pasteable_repr
from mml_graphs.sample import read_structure, with_keys
from mml_graphs.transforms._arrays import floats, positions
from mml_graphs.transforms._errors import key_name, naming, positive
from mml_graphs.transforms._graphs import change_atoms, update_graph

# All keys that are lengths and scale with the positions. Fractional coordinates and images do not change.
LENGTHS = ("pos", "noisy_pos", "fa_pos", "fa_cell", "cell", "offsets", "distances", "r")


class CoordinateScaling:
    """Multiply coordinates by a constant, for example to change their unit.

    With ``key="pos"``, the whole geometry is scaled, in the sample and in its graph: ``pos``, ``cell``,
    ``offsets``, ``distances``, ``cutoff_radius``, the lengths of lattice parameters, and the lengths that
    other transforms have added (``noisy_pos``, ``fa_pos``, ``fa_cell``, ``r``). Edges therefore remain
    correct and periodic. Labels are not changed. ``structure``, over which ``pos`` and ``cell`` take
    precedence, is not changed. With any other key, only the array under this key is scaled.

    Parameters
    ----------
    value
        Scale factor, above zero.
    key
        Key of the array to scale. ``"pos"`` scales the whole geometry.

    Raises
    ------
    ValueError
        If the factor is invalid, or the key is missing. The message names the sample and the key.
    """

    is_random = False

    def __init__(self, value: float, key: str = "pos") -> None:
        self.value = positive("value", value)
        self.key = key_name("key", key)

    def __call__(self, sample: Sample) -> Sample:
        """Return a copy of the sample with scaled coordinates."""
        with naming(sample):
            if self.key != "pos":
                return change_atoms(
                    sample, self.key, lambda atoms: {self.key: floats(self.key, atoms[self.key]) * self.value}
                )
            result = self._structure(sample)
            if "graph" in sample:
                result["graph"] = update_graph(
                    sample["graph"], nodes=self._lengths, edges=self._lengths, whole=self._lengths
                )
            return with_keys(sample, result)

    def _structure(self, sample: Sample) -> dict[str, Array]:
        """Scale the geometry that the sample has besides its graph."""
        scaled = self._lengths(sample)
        if sample.get("structure") is not None:
            structure = read_structure(sample)
            scaled.setdefault("pos", torch.tensor(structure.positions * self.value))
            if structure.cell is not None:
                scaled.setdefault("cell", torch.tensor(structure.cell[None] * self.value))
            scaled["pbc"] = torch.tensor(structure.pbc)
        if "frac_coords" not in sample and "graph" not in sample and "pos" not in scaled:
            positions(sample)  # raises an error that names the missing key
        return scaled

    def _lengths(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Scale all lengths in a sample or in one of the parts of a graph."""
        scaled: dict[str, Array] = {}
        for key in LENGTHS:
            if key in arrays:
                scaled[key] = floats(key, arrays[key]) * self.value
        for key in LATTICE_KEYS:
            if key in arrays:
                scaled[key] = self._parameters(key, arrays[key])
        if "cutoff_radius" in arrays:
            scaled["cutoff_radius"] = arrays["cutoff_radius"] * self.value
        return scaled

    def _parameters(self, key: str, value: Array) -> Any:
        if isinstance(value, Mapping):
            return {
                name: self._parameters(name, inner) if name == "lattice_params" else inner
                for name, inner in value.items()
            }
        parameters = floats(key, value)
        if parameters.shape[-1:] != (6,):
            raise ValueError(f"{key!r} has shape {list(parameters.shape)}, expected [6]")
        return parameters * torch.tensor([self.value] * 3 + [1.0] * 3, dtype=parameters.dtype)

    def __repr__(self) -> str:
        return pasteable_repr(self)
