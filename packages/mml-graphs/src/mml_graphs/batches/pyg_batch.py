"""Build a PyG batch from arrays that are already joined, without one graph object per structure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mml_graphs._optional import pyg_data
from mml_graphs.libraries.graph_data import GraphData

if TYPE_CHECKING:
    from torch_geometric.data import Batch


def build_batch(
    data: GraphData, edge_index: torch.Tensor, num_nodes: Sequence[int], num_edges: Sequence[int]
) -> Batch:
    """Build the same batch as PyG's ``Batch.from_data_list`` builds from the single graphs.

    Parameters
    ----------
    data
        Data of the joined graphs: nodes and edges of one graph after the other, ``src`` and ``dst`` as
        indices of the joined nodes, and tensors with B rows in ``whole``. The kind of each key must follow
        from its name, see `mml_graphs.libraries.graph_data.kind_by_name`.
    edge_index
        [2, E], ``src`` and ``dst``.
    num_nodes, num_edges
        [B] each, numbers of nodes and edges of each graph.

    Returns
    -------
    Batch
        The batch. ``get_example`` and ``to_data_list`` return the single graphs.

    Raises
    ------
    ImportError
        If PyG is not installed.
    """
    num_graphs = len(num_nodes)
    ends: dict[str, torch.Tensor] = {
        "node": _ends(num_nodes),
        "edge": _ends(num_edges),
        "whole": torch.arange(num_graphs + 1),
    }
    zeros = torch.zeros(num_graphs, dtype=torch.int64)
    parts: dict[str, Any] = {"edge_index": edge_index}
    slices, increments = {"edge_index": ends["edge"]}, {"edge_index": ends["node"][:-1]}
    for kind, tensors in (("node", data.nodes), ("edge", data.edges), ("whole", data.whole)):
        for name, tensor in tensors.items():
            parts[name], slices[name], increments[name] = tensor, ends[kind], zeros
    parts["num_nodes"] = data.num_nodes
    parts["batch"] = torch.from_numpy(np.repeat(np.arange(num_graphs), num_nodes))
    parts["ptr"] = ends["node"]

    batch = type.__call__(_batch_class())
    batch._store._mapping.update(parts)
    batch._store._num_nodes = list(num_nodes)
    batch._num_graphs, batch._slice_dict, batch._inc_dict = num_graphs, slices, increments
    return batch


@cache
def _batch_class() -> type:
    """Return the class of batches of ``Data``, which ``Batch`` looks up with ``inspect`` for each batch."""
    module = pyg_data()
    return type(module.Batch(_base_cls=module.Data))


def _ends(counts: Sequence[int]) -> torch.Tensor:
    return torch.from_numpy(np.concatenate([[0], np.cumsum(counts)]))
