"""pymatgen's neighbor objects and Python loops over them, as in the archived toolkit."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch_geometric.data import Data

from contenders.face import CUTOFF, Method, to_pymatgen

PACKAGES = ("pymatgen-core", "torch", "torch-geometric")


def convert(structure: Any) -> Data:
    """Loop over the neighbors, then compute offsets and distances."""
    src, dst, images = [], [], []
    for index, neighbors in enumerate(structure.get_all_neighbors(CUTOFF)):
        for neighbor in neighbors:
            src.append(index)
            dst.append(neighbor.index)
            images.append(neighbor.image)
    positions = torch.tensor(structure.cart_coords, dtype=torch.float32)
    cell = torch.tensor(structure.lattice.matrix.copy(), dtype=torch.float32)
    fractional = torch.tensor(structure.frac_coords, dtype=torch.float32)
    edge_index = torch.tensor([src, dst])
    translations = torch.tensor(np.array(images).reshape(-1, 3), dtype=torch.float32)
    offsets = translations @ cell
    first, second = edge_index
    return Data(
        atomic_numbers=torch.tensor([site.specie.Z for site in structure]),
        pos=positions,
        cell=cell[None],
        edge_index=edge_index,
        images=translations,
        offsets=offsets,
        unit_offsets=fractional[second] - fractional[first] + translations,
        distances=(positions[second] + offsets - positions[first]).norm(dim=1),
    )


def methods() -> dict[str, Method]:
    """Return the method."""
    return {
        "get_all_neighbors + loops": Method(
            to_pymatgen,
            convert,
            lambda graph: int(graph.edge_index.shape[1]),
            returns="ends, images, offsets, unit offsets, distances",
        )
    }
