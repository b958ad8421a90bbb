"""What a graph holds, apart from the library that holds it."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

EDGE_KEYS = ("offsets", "images", "unit_offsets", "distances")
# What the names of the sample contract, and PyG's own, belong to where the number of rows does not tell.
KINDS = {
    **dict.fromkeys(("atomic_numbers", "pos", "force", "forces", "x", "z", "tags", "fixed"), "node"),
    **dict.fromkeys(EDGE_KEYS, "edge"),
    **dict.fromkeys(("cell", "pbc", "natoms", "cutoff_radius", "energy", "stress", "y"), "whole"),
}


class GraphData(NamedTuple):
    """The parts of one graph, by what they belong to.

    Attributes
    ----------
    nodes
        Tensors with N rows, one a node.
    edges
        Tensors with E rows, one an edge, without the indices.
    src, dst
        [E] int64: edge i goes from node ``src[i]`` to node ``dst[i]``. The same pair may occur often.
    whole
        What belongs to the graph as a whole: ``cell`` [1, 3, 3], ``pbc`` [1, 3], and anything else.
    n_nodes
        Number of nodes N.
    """

    nodes: dict[str, torch.Tensor]
    edges: dict[str, torch.Tensor]
    src: torch.Tensor
    dst: torch.Tensor
    whole: dict[str, Any]
    n_nodes: int

    @property
    def n_edges(self) -> int:
        """Number of edges E."""
        return len(self.src)


def kind_of(name: str, value: Any, n_nodes: int, n_edges: int) -> str:
    """Tell what a value of a graph belongs to, where the graph itself does not say so.

    The number of rows decides. Where it fits both nodes and edges, or where it is one and might be either
    of a node, an edge or the graph, the name does: those of the sample contract are known, names with
    ``edge`` belong to edges, all others to nodes.

    Parameters
    ----------
    name
        Its name.
    value
        A tensor or anything else.
    n_nodes, n_edges
        Size of the graph.

    Returns
    -------
    str
        ``"node"``, ``"edge"`` or ``"whole"``.
    """
    if not isinstance(value, torch.Tensor) or value.ndim == 0 or "index" in name or name == "face":
        return "whole"
    rows = len(value)
    fits = {"node": rows == n_nodes, "edge": rows == n_edges, "whole": True}
    by_name = kind_by_name(name)
    if fits[by_name] and not (by_name == "whole" and rows != 1):
        return by_name
    return "node" if fits["node"] else "edge" if fits["edge"] else "whole"


def kind_by_name(name: str) -> str:
    """Tell what a name belongs to by itself: ``"node"``, ``"edge"`` or ``"whole"``."""
    return KINDS.get(name) or ("edge" if "edge" in name else "node")
