"""Read and write a DGL graph under the attribute names of PyG, without importing DGL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

WHOLE = "whole."
"""Prefix of the names of data of a whole structure, which DGL can only store per atom."""


def is_dgl(graph: object) -> bool:
    """Return whether an object is a DGL graph, either a single graph or a batch."""
    return any(kind.__module__.split(".")[0] == "dgl" for kind in type(graph).__mro__)


class DGLView:
    """Arrays of a ``DGLGraph`` of B structures as attributes; setting an attribute changes the graph.

    ``pos`` [N, 3], ``atomic_numbers`` [N] and other data of atoms are stored in ``ndata``, ``offsets`` [E, 3]
    in ``edata``, and ``cell`` [B, 3, 3], repeated for each atom, in ``ndata["whole.cell"]``. ``batch`` [N],
    ``natoms`` [B], ``ptr`` [B + 1] and ``edge_index`` [2, E] are computed from the graph and cannot be set.
    Edges lead from the center to the neighbor.

    Parameters
    ----------
    graph
        A graph that was created by mml-graphs.

    Raises
    ------
    ValueError
        If the graph has several types of nodes or edges.
    """

    __slots__ = ("graph",)

    def __init__(self, graph: Any) -> None:
        if not graph.is_homogeneous:
            raise ValueError(
                f"The DGL graph has node types {graph.ntypes} and edge types {graph.etypes}, expected "
                "one type of each. Create graphs with PointCloudToGraphTransform('dgl')."
            )
        object.__setattr__(self, "graph", graph)

    def __getattr__(self, name: str) -> Any:
        import torch

        graph = self.graph
        if name == "edge_index":
            return torch.stack(graph.edges(order="eid")).long()
        if name in ("natoms", "ptr", "batch"):
            counts = graph.batch_num_nodes()
            if name == "natoms":
                return counts
            if name == "ptr":
                return torch.cat((counts.new_zeros(1), counts.cumsum(0)))
            return torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
        if name in graph.ndata:
            return graph.ndata[name]
        if name in graph.edata:
            return graph.edata[name]
        if WHOLE + name in graph.ndata:
            counts = graph.batch_num_nodes()
            return graph.ndata[WHOLE + name][counts.cumsum(0) - counts]
        raise AttributeError(f"the DGL graph has no {name!r}")

    def __setattr__(self, name: str, value: Tensor) -> None:
        graph = self.graph
        if WHOLE + name in graph.ndata:
            graph.ndata[WHOLE + name] = value.repeat_interleave(graph.batch_num_nodes(), dim=0)
        elif name in graph.edata:
            graph.edata[name] = value
        else:
            graph.ndata[name] = value
