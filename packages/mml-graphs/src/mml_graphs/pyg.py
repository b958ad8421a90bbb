"""PyG graphs: built, taken apart, batched, told from other objects. PyG itself is imported on first use."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from mml_graphs._optional import pyg_data
from mml_graphs.graph_data import GraphData, Kind, join_ends, kind_by_name, kind_of

if TYPE_CHECKING:
    from torch_geometric.data import Batch, Data

RESERVED = ("batch", "ptr", "num_nodes", "num_edges", "edge_index")
# What PyG cannot say by itself, a graph says under this name: (key, kind, name) for each key whose name does
# not tell what it belongs to, or that had to be renamed. PyG passes a frozenset through batches as it is.
KINDS_KEY = "mml_kinds"


def is_graph(value: object) -> bool:
    """Tell whether an object is a PyG graph, without importing PyG: who has one has imported it."""
    module = sys.modules.get("torch_geometric.data")
    return module is not None and isinstance(value, module.Data)


def is_batch(graph: Data) -> bool:
    """Tell whether a graph is a batch, or holds the assignment of its nodes to several graphs."""
    held = _held(graph)
    return isinstance(graph, pyg_data().Batch) or "batch" in held or "ptr" in held


def count_nodes(graph: Data) -> int:
    """Count the nodes.

    Raises
    ------
    ValueError
        If nothing tells their number but the edges, which leave out nodes without any.
    """
    if "num_nodes" in _held(graph):
        return int(_held(graph)["num_nodes"])
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        try:
            count = graph.num_nodes
        except UserWarning:  # PyG is about to guess
            count = None
    if count is None:
        raise ValueError("the PyG graph does not tell its number of nodes; set its 'num_nodes'")
    return int(count)


def keys(graph: Data) -> set[str]:
    """Return the names of all that a graph holds, with what they belong to where the graph says it."""
    names = set(_held(graph))
    for key, (kind, _) in _told(graph).items():
        names -= {key, KINDS_KEY}
        names.add(f"{key} ({kind})")
    return names


def build(data: GraphData) -> Data:
    """Build a graph.

    Returns
    -------
    Data
        With every part under its own name, ``edge_index`` [2, E] and ``num_nodes``, so that a graph
        without edges has its nodes too. Where an edge has data of the same name as a node, it becomes
        ``edge_NAME``, and that of the whole graph ``whole_NAME``. ``mml_kinds`` says what `take_apart` needs
        to know where the names of some keys do not.

    Raises
    ------
    ValueError
        If PyG gives the name of a part a meaning of its own, or there is no name left for it.
    ImportError
        If PyG is not installed.
    """
    parts: dict[str, Any] = {}
    told = (
        _add(parts, data.nodes, "node") + _add(parts, data.edges, "edge") + _add(parts, data.whole, "whole")
    )
    if told:
        parts[KINDS_KEY] = frozenset(told)
    parts["edge_index"] = join_ends(data.src, data.dst)
    parts["num_nodes"] = data.n_nodes
    graph = pyg_data().Data()
    # As graph[name] = value for each, which looks for properties and caches that a new graph has not: of the
    # 0.03 ms that it takes for the usual ten parts this leaves 0.01.
    _held(graph).update(parts)
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
    held = _held(graph)
    if "edge_index" not in held:
        raise ValueError("the PyG graph has no 'edge_index'; find its edges first")
    n_nodes = count_nodes(graph)
    src, dst = held["edge_index"]
    told = _told(graph)
    parts: dict[Kind, dict[str, Any]] = {"node": {}, "edge": {}, "whole": {}}
    for key, value in held.items():
        if key not in ("edge_index", "num_nodes", KINDS_KEY):
            kind, name = told.get(key) or (kind_of(key, value, n_nodes, len(src)), key)
            parts[kind][name] = value
    return GraphData(parts["node"], parts["edge"], src, dst, parts["whole"], n_nodes)


def batch(graphs: Sequence[Data]) -> Batch:
    """Batch graphs by PyG's own means."""
    return pyg_data().Batch.from_data_list(list(graphs))


def unbatch(graph: Batch) -> list[Data]:
    """Return the graphs of a batch."""
    if not isinstance(graph, pyg_data().Batch):
        raise ValueError("'graph' has 'batch' or 'ptr' but is no PyG Batch, and cannot be taken apart")
    return graph.to_data_list()


def _held(graph: Data) -> dict[str, Any]:
    """Return the dict that a graph keeps its data in; ``name in graph`` makes lists of it first."""
    return graph._store._mapping


def _told(graph: Data) -> dict[str, tuple[Kind, str]]:
    """Return kind and name of those keys that a graph says it of."""
    return {key: (kind, name) for key, kind, name in _held(graph).get(KINDS_KEY, ())}


def _add(parts: dict[str, Any], more: Mapping[str, Any], kind: Kind) -> list[tuple[str, Kind, str]]:
    """Add parts of a kind, and return what their keys do not tell."""
    told = []
    for name, value in more.items():
        key = f"{kind}_{name}" if name in parts else name
        reason, by_name = _place(key, kind)
        if reason is not None:
            raise ValueError(f"{name!r} cannot be a part of the graph: {reason}")
        if key in parts:
            raise ValueError(f"two parts of the graph would be called {key!r}; rename {name!r} of the {kind}")
        if by_name != kind or key != name:
            told.append((key, kind, name))
        parts[key] = value
    return told


@lru_cache
def _place(name: str, kind: Kind) -> tuple[str | None, Kind | None]:
    """Return why a part of a kind cannot have a name, and the kind that its name tells."""
    if kind == "whole" and name not in (KINDS_KEY, *RESERVED):
        return None, kind_by_name(name)
    return reason_against(name), kind_by_name(name)


def reason_against(name: str) -> str | None:
    """Say why a node or edge key cannot have a name; None if it can."""
    if "index" in name or "batch" in name or name in ("face", KINDS_KEY, *RESERVED):
        return "PyG gives such a name a meaning of its own; rename the key"
    return None
