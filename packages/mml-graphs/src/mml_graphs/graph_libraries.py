"""The graph libraries, behind one face: who a graph belongs to, and what each of them does its own way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

from mml_graphs import dgl, pyg
from mml_graphs.graph_data import GraphData

Library = Literal["pyg", "dgl"]


class _Library(Protocol):
    def is_graph(self, value: object) -> bool: ...
    def is_batch(self, graph: Any) -> bool: ...
    def count_nodes(self, graph: Any) -> int: ...
    def keys(self, graph: Any) -> set[str]: ...
    def build(self, data: GraphData) -> Any: ...
    def take_apart(self, graph: Any) -> GraphData: ...
    def batch(self, graphs: Sequence[Any]) -> Any: ...
    def unbatch(self, graph: Any) -> list[Any]: ...
    def reason_against(self, name: str) -> str | None: ...


_LIBRARIES: dict[Library, _Library] = {"pyg": pyg, "dgl": dgl}
GRAPH_LIBRARIES: tuple[Library, ...] = tuple(_LIBRARIES)


def check_library(library: str) -> None:
    """Refuse a name that is no graph library.

    Raises
    ------
    ValueError
        With the names that are known.
    """
    if library not in GRAPH_LIBRARIES:
        raise ValueError(f"unknown graph backend {library!r}; known: {', '.join(map(repr, GRAPH_LIBRARIES))}")


def library_of(graph: object) -> Library | None:
    """Tell which library an object is a graph (or a batch of graphs) of, without importing any."""
    return next((name for name, library in _LIBRARIES.items() if library.is_graph(graph)), None)


def is_batch(graph: Any) -> bool:
    """Tell whether a graph is a batch of several."""
    return _of(graph).is_batch(graph)


def count_nodes(graph: Any) -> int:
    """Count the nodes of a graph or a batch."""
    return _of(graph).count_nodes(graph)


def build(library: Library, data: GraphData) -> Any:
    """Build a graph of a library.

    Raises
    ------
    ValueError
        Where the library has no place for a part; the message names it.
    ImportError
        If the library is not installed; the message holds the install command.
    """
    return _LIBRARIES[library].build(data)


def take_apart(graph: Any) -> GraphData:
    """Return the parts of one graph; ``build(library_of(graph), ...)`` makes an equal one of them.

    Raises
    ------
    ValueError
        If it is no graph, or a batch of several.
    """
    return _of(graph).take_apart(graph)


def batch(graphs: Sequence[Any], names: Sequence[str] | None = None) -> Any:
    """Batch graphs by the means of their own library.

    Parameters
    ----------
    graphs
        Graphs of one library, that hold the same keys.
    names
        What to call them in error messages.

    Raises
    ------
    ValueError
        If there is none, one is a batch already or of another library, or they do not hold the same.
    """
    if not graphs:
        raise ValueError("there are no graphs to batch")
    names = names or [f"graph {index}" for index in range(len(graphs))]
    library = _of(graphs[0])
    for graph, name in zip(graphs, names, strict=True):
        if _of(graph) is not library:
            kinds = type(graphs[0]).__name__, type(graph).__name__
            raise ValueError(f"{names[0]} has a {kinds[0]} and {name} a {kinds[1]}; give all the same")
        if library.is_batch(graph):
            raise ValueError(f"{name} has a batch of graphs, expected one")
    keys = [library.keys(graph) for graph in graphs]
    for own, name in zip(keys, names, strict=True):
        if own != keys[0]:
            key = min(own ^ keys[0])
            has, lacks = (names[0], name) if key in keys[0] else (name, names[0])
            raise ValueError(f"{has} holds {key!r} and {lacks} does not; give it to all or to none")
    try:
        return library.batch(graphs)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"the graphs do not fit together: {error}") from error


def unbatch(graph: Any) -> list[Any]:
    """Return the graphs of a batch."""
    return _of(graph).unbatch(graph)


def reason_against(library: Library, name: str) -> str | None:
    """Say why a node or edge key cannot have a name in a library; None if it can."""
    return _LIBRARIES[library].reason_against(name)


def _of(graph: Any) -> _Library:
    library = library_of(graph)
    if library is None:
        raise ValueError(
            f"'graph' is {type(graph).__name__}, expected a PyG Data or a DGLGraph; "
            "put PointCloudToGraphTransform before"
        )
    return _LIBRARIES[library]
