"""A graph of DGL by the names that PyG has for what it holds, read and written without importing DGL."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

WHOLE = "whole."
"""What mml-graphs puts before names of what belongs to a structure: DGL has no place for it but atoms."""


def is_dgl(graph: object) -> bool:
    """Tell whether an object is a graph of DGL, a batch or a single one."""
    return any(kind.__module__.split(".")[0] == "dgl" for kind in type(graph).__mro__)


class DGLView:
    """The arrays of a ``DGLGraph`` of B structures, as attributes; setting one sets it in the graph.

    ``pos`` [N, 3], ``atomic_numbers`` [N] and what else an atom has stand in ``ndata``, ``offsets`` [E, 3] in
    ``edata``, ``cell`` [B, 3, 3] once an atom in ``ndata["whole.cell"]``. ``batch`` [N], ``natoms`` [B] and
    ``edge_index`` [2, E] are DGL's own, and cannot be set.

    Parameters
    ----------
    graph
        As mml-graphs makes it.
    """

    __slots__ = ("graph",)

    def __init__(self, graph: Any) -> None:
        object.__setattr__(self, "graph", graph)

    def __getattr__(self, name: str) -> Any:
        graph = self.graph
        if name == "natoms":
            return graph.batch_num_nodes()
        if name == "batch":
            counts = graph.batch_num_nodes()
            return torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
        if name == "edge_index":
            return torch.stack(graph.edges(order="eid")).long()
        if name in graph.ndata:
            return graph.ndata[name]
        if name in graph.edata:
            return graph.edata[name]
        if WHOLE + name in graph.ndata:
            counts = graph.batch_num_nodes()
            return graph.ndata[WHOLE + name][counts.cumsum(0) - counts]
        raise AttributeError(f"the graph of DGL has no {name!r}")

    def __setattr__(self, name: str, value: Tensor) -> None:
        graph = self.graph
        if WHOLE + name in graph.ndata:
            graph.ndata[WHOLE + name] = value.repeat_interleave(graph.batch_num_nodes(), dim=0)
        elif name in graph.edata:
            graph.edata[name] = value
        else:
            graph.ndata[name] = value
