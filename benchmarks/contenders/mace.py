"""mace-torch: `AtomicData.from_config`, batched by the collater of its data loader."""

from __future__ import annotations

from typing import Any

from mace.data import AtomicData
from mace.data.utils import config_from_atoms
from mace.tools import AtomicNumberTable
from mace.tools.torch_geometric.dataloader import Collater

from contenders.face import CUTOFF, Crystal, Method, to_ase

PACKAGES = ("mace-torch", "torch", "matscipy", "ase")


def prepare(crystal: Crystal) -> Any:
    """Return a `Configuration`, which MACE's data sets keep in memory."""
    return config_from_atoms(to_ase(crystal))


def methods() -> dict[str, Method]:
    """Return the method."""
    table = AtomicNumberTable(list(range(1, 119)))
    collater = Collater([None], [None])  # the arguments that its DataLoader passes by default

    def convert(config: Any) -> Any:
        return AtomicData.from_config(config, z_table=table, cutoff=CUTOFF)

    def collate(configs: list[Any]) -> Any:
        return collater([convert(config) for config in configs])

    return {
        "AtomicData.from_config": Method(
            prepare, convert, lambda graph: int(graph.edge_index.shape[1]), collate, "ends, images, offsets"
        )
    }
