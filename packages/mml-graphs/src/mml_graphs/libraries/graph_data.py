"""The content of a graph, independent of the graph library."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from mml_samples import Array

Kind = Literal["node", "edge", "whole"]

EDGE_KEYS = ("offsets", "images", "unit_offsets", "distances")
WHOLE_KEYS = ("cell", "pbc", "natoms", "lattice_params", "lattice_features", "cutoff_radius")
LABELS = ("energy", "stress", "y")


class GraphData(NamedTuple):
    """Nodes, edges and other data of one graph.

    Attributes
    ----------
    nodes
        Tensors with N rows, one per node.
    edges
        Tensors with E rows, one per edge, without the indices.
    src, dst
        [E] int64: edge i leads from node ``src[i]`` to node ``dst[i]``. The same pair may occur several
        times.
    whole
        Data of the whole graph: ``cell`` [1, 3, 3], ``pbc`` [1, 3], and anything else.
    num_nodes
        Number of nodes N.
    """

    nodes: dict[str, torch.Tensor]
    edges: dict[str, torch.Tensor]
    src: torch.Tensor
    dst: torch.Tensor
    whole: dict[str, Any]
    num_nodes: int

    @property
    def num_edges(self) -> int:
        """Number of edges E."""
        return len(self.src)


def kind_of(name: str, value: Array, num_nodes: int, num_edges: int) -> Kind:
    """Determine whether a value belongs to nodes, to edges or to the whole graph, from its name and shape.

    Keys of the sample contract that belong to the whole graph are recognized by name. For all other keys, the
    number of rows decides. If it matches both nodes and edges, the name decides: ``offsets``, ``images``,
    ``unit_offsets``, ``distances`` and names that contain ``edge`` belong to edges, others to nodes. Values
    of ``energy``, ``stress`` or ``y`` with one row belong to the whole graph, and so do indices, values
    without rows and values that are not tensors.

    Parameters
    ----------
    name
        Name of the value.
    value
        A tensor or any other object.
    num_nodes, num_edges
        Numbers of nodes and edges of the graph.

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
    if rows == num_edges and (by_name == "edge" or rows != num_nodes):
        return "edge"
    return "node" if rows == num_nodes else "whole"


def kind_by_name(name: str) -> Kind | None:
    """Return the kind of data that a name implies, or ``None`` if the name is ambiguous."""
    if name in LABELS:
        return None
    if name in WHOLE_KEYS or "index" in name or name == "face":
        return "whole"
    return "edge" if name in EDGE_KEYS or "edge" in name else "node"


def join_ends(src: torch.Tensor, dst: torch.Tensor) -> torch.Tensor:
    """Return sources and destinations as one tensor [2, E], without a copy if they are the rows of one."""
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
