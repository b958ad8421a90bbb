"""schnetpack: its converter of ASE structures, batched by the collate function of its data loader."""

from __future__ import annotations

from schnetpack.interfaces.ase_interface import AtomsConverter
from schnetpack.transform import MatScipyNeighborList, VesinNeighborList

from contenders.face import CUTOFF, Method, to_ase

PACKAGES = ("schnetpack", "torch", "matscipy", "vesin", "ase")


def methods() -> dict[str, Method]:
    """Return the converter with its two compiled searches. Its third search, ASE's, is much slower."""
    result = {}
    for search in (MatScipyNeighborList, VesinNeighborList):
        converter = AtomsConverter(neighbor_list=search(cutoff=CUTOFF))
        result[search.__name__] = Method(
            to_ase, converter, lambda inputs: len(inputs["_idx_i"]), converter, "ends, offsets"
        )
    return result
