"""Read DGL graphs without importing DGL."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

_WHOLE = "whole."
"""Prefix of the per-structure arrays that mml-graphs stores on atoms, as DGL has no per-graph arrays."""


def is_dgl(graph: object) -> bool:
    """Return whether an object is a DGL graph, either a single graph or a batch."""
    return any(kind.__module__.split(".")[0] == "dgl" for kind in type(graph).__mro__)


def read_dgl(graph: Any) -> SimpleNamespace:
    """Return the arrays of a DGL graph that encoders need, under the attribute names of PyG.

    Parameters
    ----------
    graph
        A ``DGLGraph`` of B structures, built by `mml_graphs`. ``ndata`` contains `atomic_numbers` [N], `pos`
        [N, 3], and ``whole.cell`` and ``whole.pbc``, repeated for every atom. ``edata`` contains `offsets`
        [E, 3]. Edges point from the center to the neighbor.

    Raises
    ------
    ValueError
        If the graph has several types of nodes or edges.
    """
    if not graph.is_homogeneous:
        raise ValueError(
            f"The graph of DGL has node types {graph.ntypes} and edge types {graph.etypes}: give one with "
            'one type of each, as PointCloudToGraphTransform("dgl") makes.'
        )
    nodes, edges = graph.ndata, graph.edata
    counts = graph.batch_num_nodes()
    found = {name: nodes[name] for name in ("atomic_numbers", "pos") if name in nodes}
    found |= {name: nodes[_WHOLE + name] for name in ("cell", "pbc") if _WHOLE + name in nodes}
    if "offsets" in edges:
        found["offsets"] = edges["offsets"]
    structures = torch.arange(counts.shape[0], device=counts.device)
    return SimpleNamespace(
        **found,
        edge_index=torch.stack(graph.edges(order="eid")).long(),
        batch=structures.repeat_interleave(counts),
        ptr=torch.cat((counts.new_zeros(1), counts.cumsum(0))),
    )
