"""PyG graphs: built, taken apart, batched, told from other objects. PyG itself is imported on first use."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch

from mml_graphs._optional import pyg_data
from mml_graphs.graph_data import GraphData, kind_by_name, kind_of

if TYPE_CHECKING:
    from torch_geometric.data import Batch, Data

RESERVED = ("batch", "ptr", "num_nodes", "num_edges", "edge_index")
# Under this name a graph says which keys belong to edges or to the whole where their names do not.
# It is a frozenset because PyG passes one through batches as it is.
KINDS_KEY = "mml_kinds"


def is_graph(value: object) -> bool:
    """Tell whether an object is a PyG graph, without importing PyG: who has one has imported it."""
    module = sys.modules.get("torch_geometric.data")
    return module is not None and isinstance(value, module.Data)


def is_batch(graph: Data) -> bool:
    """Tell whether a graph is a batch, or holds the assignment of its nodes to several graphs."""
    return isinstance(graph, pyg_data().Batch) or "batch" in graph or "ptr" in graph


def count_nodes(graph: Data) -> int:
    """Count the nodes."""
    count = graph.num_nodes
    if count is None:
        raise ValueError("the PyG graph does not tell its number of nodes; set its 'num_nodes'")
    return int(count)


def build(data: GraphData) -> Data:
    """Build a graph.

    Returns
    -------
    Data
        With every part under its own name, ``edge_index`` [2, E] and ``num_nodes``, so that a graph
        without edges has its nodes too. Where the names of some keys do not tell whether they belong to
        edges or to the whole graph, ``mml_kinds`` does.

    Raises
    ------
    ValueError
        If PyG gives the name of a part a meaning of its own, or two parts have the same.
    ImportError
        If PyG is not installed.
    """
    nodes, edges, whole = data.nodes, data.edges, data.whole
    parts = {**nodes, **edges, **whole}
    if len(parts) != len(nodes) + len(edges) + len(whole):
        twice = next(name for name in parts if (name in nodes) + (name in edges) + (name in whole) > 1)
        raise ValueError(f"two parts of the graph are called {twice!r}, but PyG has one place for a name")
    kinds = set()
    for kind, names in (("node", nodes), ("edge", edges), ("whole", whole)):
        for name in names:
            reason, by_name = _place(name, kind)
            if reason is not None:
                raise ValueError(f"{name!r} cannot be a part of the graph: {reason}")
            if by_name != kind:
                kinds.add((kind, name))
    if kinds:
        parts[KINDS_KEY] = frozenset(kinds)
    parts["num_nodes"] = data.n_nodes
    parts["edge_index"] = torch.stack([data.src, data.dst])
    graph = pyg_data().Data()
    graph._store._mapping.update(parts)  # setting a dozen attributes one by one takes ten times as long
    return graph


def take_apart(graph: Data) -> GraphData:
    """Return the parts of one graph.

    What a key belongs to is what ``mml_kinds`` says, where `build` left it, or what `kind_of` finds.

    Raises
    ------
    ValueError
        If it is a batch, or has no ``edge_index``.
    """
    if is_batch(graph):
        raise ValueError("'graph' is a batch of graphs, expected one; use to_data_list() first")
    if "edge_index" not in graph:
        raise ValueError("the PyG graph has no 'edge_index'")
    n_nodes = count_nodes(graph)
    src, dst = graph.edge_index
    told = {name: kind for kind, name in graph.get(KINDS_KEY, ())}
    parts: dict[str, dict[str, Any]] = {"node": {}, "edge": {}, "whole": {}}
    for name in graph.keys():  # noqa: SIM118
        if name not in ("edge_index", "num_nodes", KINDS_KEY):
            value = graph[name]
            parts[told.get(name) or kind_of(name, value, n_nodes, len(src))][name] = value
    return GraphData(parts["node"], parts["edge"], src, dst, parts["whole"], n_nodes)


def batch(graphs: Sequence[Data]) -> Batch:
    """Batch graphs by PyG's own means."""
    return pyg_data().Batch.from_data_list(list(graphs))


def unbatch(graph: Batch) -> list[Data]:
    """Return the graphs of a batch."""
    if not isinstance(graph, pyg_data().Batch):
        raise ValueError("'graph' has 'batch' or 'ptr' but is no PyG Batch, and cannot be taken apart")
    return graph.to_data_list()


@lru_cache
def _place(name: str, kind: str) -> tuple[str | None, str]:
    """Return why a part of a kind cannot have a name, and the kind that its name tells."""
    if kind == "whole" and name not in (KINDS_KEY, *RESERVED):
        return None, kind_by_name(name)
    return reason_against(name), kind_by_name(name)


def reason_against(name: str) -> str | None:
    """Say why a node or edge key cannot have a name; None if it can."""
    if "index" in name or "batch" in name or name in ("face", KINDS_KEY, *RESERVED):
        return "PyG gives such a name a meaning of its own; rename the key"
    return None
