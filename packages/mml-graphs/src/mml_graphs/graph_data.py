"""What a graph holds, apart from the library that holds it."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch

Kind = Literal["node", "edge", "whole"]

EDGE_KEYS = ("offsets", "images", "unit_offsets", "distances")
WHOLE_KEYS = ("cell", "pbc", "natoms", "lattice_params", "lattice_features", "cutoff_radius")
LABELS = ("energy", "stress", "y")


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


def kind_of(name: str, value: Any, n_nodes: int, n_edges: int) -> Kind:
    """Tell what a value of a graph belongs to, where the graph itself does not say so.

    Keys of the sample contract that belong to the whole graph are known by name. Of all others the number of
    rows decides. Where it fits both nodes and edges, the name does: ``offsets``, ``images``,
    ``unit_offsets``, ``distances`` and names with ``edge`` belong to edges, others to nodes. One row of
    ``energy``, ``stress`` or ``y`` belongs to the whole graph, and so does what is no tensor, has no rows, or
    holds indices.

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
    by_name = kind_by_name(name)
    if not isinstance(value, torch.Tensor) or value.ndim == 0 or by_name == "whole":
        return "whole"
    rows = len(value)
    if by_name is None and rows == 1:
        return "whole"
    if rows == n_edges and (by_name == "edge" or rows != n_nodes):
        return "edge"
    return "node" if rows == n_nodes else "whole"


def kind_by_name(name: str) -> Kind | None:
    """Tell what a name belongs to by itself; None if it does not tell."""
    if name in LABELS:
        return None
    if name in WHOLE_KEYS or "index" in name or name == "face":
        return "whole"
    return "edge" if name in EDGE_KEYS or "edge" in name else "node"


def join_ends(src: torch.Tensor, dst: torch.Tensor) -> torch.Tensor:
    """Return sources and destinations as one tensor [2, E]: the one that they are rows of, if there is."""
    base = src._base
    if (
        base is not None
        and base is dst._base
        and base.shape == (2, len(src))
        and base.is_contiguous()
        and src.data_ptr() == base.data_ptr()
        and dst.data_ptr() == base.data_ptr() + src.nbytes
    ):
        return base
    return torch.stack([src, dst])
