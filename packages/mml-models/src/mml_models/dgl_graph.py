"""Graphs of DGL, read without importing it: who hands one over has it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

_WHOLE = "whole."
"""What mml-graphs puts before names of what belongs to a structure: DGL has no place for it but atoms."""


def is_dgl(graph: object) -> bool:
    """Tell whether an object is a graph of DGL, a batch or a single one."""
    return any(kind.__module__.split(".")[0] == "dgl" for kind in type(graph).__mro__)


def read_dgl(graph: Any) -> SimpleNamespace:
    """Return what encoders need of a graph of DGL, by the names that PyG has for it.

    Parameters
    ----------
    graph
        A ``DGLGraph`` of B structures as `mml_graphs` makes them: ``ndata`` holds `atomic_numbers` [N], `pos`
        [N, 3] and, once an atom, ``whole.cell`` and ``whole.pbc``; ``edata`` holds `offsets` [E, 3]. Edges go
        from the centre to the neighbour.

    Raises
    ------
    ValueError
        Where it has several types of nodes or edges.
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
