"""Common interface to the graph libraries PyG and DGL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from mml_samples import Graph

from mml_graphs.libraries import dgl, pyg
from mml_graphs.libraries.graph_data import GraphData

Library = Literal["pyg", "dgl"]


class _Library(Protocol):
    def is_graph(self, value: object) -> bool: ...
    def is_batch(self, graph: Graph) -> bool: ...
    def count_nodes(self, graph: Graph) -> int: ...
    def keys(self, graph: Graph) -> set[str]: ...
    def build(self, data: GraphData) -> Graph: ...
    def take_apart(self, graph: Graph) -> GraphData: ...
    def batch(self, graphs: Sequence[Graph]) -> Graph: ...
    def unbatch(self, graph: Graph) -> list[Graph]: ...
    def reason_against(self, name: str) -> str | None: ...


_LIBRARIES: dict[Library, _Library] = {"pyg": pyg, "dgl": dgl}
GRAPH_LIBRARIES: tuple[Library, ...] = tuple(_LIBRARIES)


def check_library(library: str) -> None:
    """Check that a name is that of a known graph library.

    Raises
    ------
    ValueError
        If the library is unknown. The message lists the known ones.
    """
    if library not in GRAPH_LIBRARIES:
        raise ValueError(f"backend must be one of {', '.join(map(repr, GRAPH_LIBRARIES))}, got {library!r}")


def library_of(graph: object) -> Library | None:
    """Return the library of a graph or batch, or ``None`` for other objects. No library is imported."""
    return next((name for name, library in _LIBRARIES.items() if library.is_graph(graph)), None)


def is_batch(graph: Graph) -> bool:
    """Return whether a graph is a batch of several graphs."""
    return _of(graph).is_batch(graph)


def count_nodes(graph: Graph) -> int | None:
    """Return the number of nodes of a graph or a batch, or ``None`` for other objects."""
    library = library_of(graph)
    return None if library is None else _LIBRARIES[library].count_nodes(graph)


def build(library: Library, data: GraphData) -> Graph:
    """Build a graph of the given library.

    Raises
    ------
    ValueError
        If the library cannot store one of the parts. The message names the part.
    ImportError
        If the library is not installed. The message contains the install command.
    """
    return _LIBRARIES[library].build(data)


def take_apart(graph: Graph) -> GraphData:
    """Return the parts of one graph. ``build(library_of(graph), ...)`` builds an equal graph from them.

    Raises
    ------
    ValueError
        If the object is not a graph, or is a batch of several graphs.
    """
    return _of(graph).take_apart(graph)


def batch(graphs: Sequence[Graph], names: Sequence[str] | None = None) -> Graph:
    """Batch graphs with the batching function of their library.

    Parameters
    ----------
    graphs
        Graphs of one library with the same keys.
    names
        Names of the graphs for error messages.

    Raises
    ------
    ValueError
        If there are no graphs, the graphs are of different libraries, one of them is already a batch, or
        their keys or shapes do not match.
    """
    if not graphs:
        raise ValueError("graphs must contain at least one graph, got none")
    names = names or [f"graph {index}" for index in range(len(graphs))]
    library = _of(graphs[0])
    for graph, name in zip(graphs, names, strict=True):
        if _of(graph) is not library:
            kinds = type(graphs[0]).__name__, type(graph).__name__
            raise ValueError(
                f"{names[0]} has a {kinds[0]}, but {name} has a {kinds[1]}; expected one graph library"
            )
        if library.is_batch(graph):
            raise ValueError(f"{name} has a batch of graphs, expected a single graph")
    keys = [library.keys(graph) for graph in graphs]
    for own, name in zip(keys, names, strict=True):
        if own != keys[0]:
            key = min(own ^ keys[0])
            has, lacks = (names[0], name) if key in keys[0] else (name, names[0])
            raise ValueError(f"{has} has {key!r}, but {lacks} does not. Add it to all graphs, or remove it.")
    try:
        return library.batch(graphs)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"the graphs cannot be batched: {error}") from error


def unbatch(graph: Graph) -> list[Graph]:
    """Return the graphs of a batch."""
    return _of(graph).unbatch(graph)


def reason_against(library: Library, name: str) -> str | None:
    """Return the reason why a node or edge key cannot have this name in a library, or ``None`` if it can."""
    return _LIBRARIES[library].reason_against(name)


def _of(graph: Graph) -> _Library:
    library = library_of(graph)
    if library is None:
        raise ValueError(
            f"'graph' is of type {type(graph).__name__}, expected a PyG Data or a DGLGraph. "
            "Apply PointCloudToGraphTransform first."
        )
    return _LIBRARIES[library]
