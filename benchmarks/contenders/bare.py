"""The search of mml-graphs without the arrays that other libraries do not return, in a plain PyG graph."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from mml_graphs.libraries.graph_data import GraphData
from mml_graphs.libraries.pyg import build_batch
from mml_graphs.neighbors.native import find_batch_edges
from mml_graphs.structures import read_structures

from contenders.face import CUTOFF, Method
from contenders.ours import as_atoms, as_structure

if TYPE_CHECKING:
    from mml_samples import Sample

PACKAGES = ("mml-graphs", "torch", "torch-geometric")


def collate(samples: list[Sample], offsets: bool) -> Any:
    """Return a PyG batch with the ends and images of the edges, and their offsets if requested."""
    structures = read_structures(samples, is_cartesian=True)
    cutoffs = np.full(len(samples), CUTOFF)
    found = find_batch_edges(
        *(structures.positions, structures.starts, structures.cells, structures.pbc, cutoffs),
        dtype=np.float32,
        offsets=offsets,
        unit_offsets=False,
        distances=False,
    )
    edges = {"images": torch.from_numpy(found.images)}
    if offsets:
        edges["offsets"] = torch.from_numpy(found.offsets)
    nodes = {
        "atomic_numbers": torch.from_numpy(structures.atomic_numbers),
        "pos": torch.from_numpy(structures.positions).float(),
    }
    whole = {"cell": torch.from_numpy(structures.cells).float()}
    edge_index = torch.from_numpy(found.edge_index)
    data = GraphData(nodes, edges, edge_index[0], edge_index[1], whole, len(structures.positions))
    return build_batch(data, edge_index, structures.counts, found.num_edges.tolist())


def _convert(sample: Sample, offsets: bool) -> Any:
    return collate([sample], offsets)


def methods() -> dict[str, Method]:
    """Return the search with the arrays of matgl, and with those of orb-models."""

    def count(graph: Any) -> int:
        return int(graph.edge_index.shape[1])

    result = {}
    for name, prepare, offsets in (
        ("Structure, as matgl", as_structure, False),
        ("Atoms, as orb-models", as_atoms, True),
    ):
        make = partial(collate, offsets=offsets)
        returns = "ends, images" + ", offsets" * offsets
        result[name] = Method(prepare, partial(_convert, offsets=offsets), count, make, returns)
    return result
