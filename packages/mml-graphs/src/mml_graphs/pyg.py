"""PyG graphs: built, taken apart, told from other objects. PyG itself is imported on first use."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from mml_graphs._optional import pyg_data

if TYPE_CHECKING:
    from torch_geometric.data import Batch, Data


def build(tensors: Mapping[str, torch.Tensor]) -> Data:
    """Build a graph from node, edge and graph arrays.

    Parameters
    ----------
    tensors
        By name; ``natoms`` [1] is the number of nodes.

    Returns
    -------
    Data
        With ``num_nodes`` set, so that a graph without edges has its nodes too.

    Raises
    ------
    ImportError
        If PyG is not installed.
    """
    return pyg_data().Data(num_nodes=int(tensors["natoms"]), **tensors)


def is_graph(value: object) -> bool:
    """Tell whether an object is a PyG graph, without importing PyG: who has one has imported it."""
    module = sys.modules.get("torch_geometric.data")
    return module is not None and isinstance(value, module.Data)


def batch(graphs: Sequence[Data]) -> Batch:
    """Batch graphs by PyG's own means.

    Raises
    ------
    ImportError
        If PyG is not installed.
    """
    return pyg_data().Batch.from_data_list(list(graphs))


def take_apart(graph: Any) -> dict[str, Any]:
    """Return the arrays of one graph under the names of the sample contract.

    Parameters
    ----------
    graph
        A graph of one structure.

    Returns
    -------
    dict
        ``edge_index`` becomes ``src_nodes`` and ``dst_nodes``, ``pbc`` has shape [3]; ``natoms`` and
        ``num_nodes`` are left out, as positions tell them; everything else is as the graph holds it.

    Raises
    ------
    ValueError
        If it is no PyG graph, or a batch of several.
    """
    if not is_graph(graph):
        raise ValueError(
            f"'graph' is {type(graph).__name__}, expected a PyG Data; put PointCloudToGraphTransform before"
        )
    if isinstance(graph, pyg_data().Batch):
        raise ValueError("'graph' is a batch of graphs, expected one; use to_data_list() first")
    tensors = {key: graph[key] for key in graph.keys() if key not in ("natoms", "num_nodes")}  # noqa: SIM118
    if "edge_index" in tensors:
        tensors["src_nodes"], tensors["dst_nodes"] = tensors.pop("edge_index")
    if "pbc" in tensors:
        tensors["pbc"] = tensors["pbc"].reshape(3)
    return tensors
