"""Graphs of one library as graphs of the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mml_graphs import graph_libraries
from mml_graphs.graph_libraries import Library

if TYPE_CHECKING:
    from dgl import DGLGraph
    from torch_geometric.data import Batch, Data


def pyg_to_dgl(graph: Data | Batch) -> DGLGraph:
    """Return a PyG graph, or a batch of them, as DGL graph with the same nodes, edges and data.

    Edges keep their order, and the same edge may occur several times. What belongs to the whole graph stands
    in ``ndata`` as ``whole.NAME`` [N, ...], the same for each node; `dgl_to_pyg` turns it back. PyG does not
    record what a key belongs to: the number of rows says it, and where that fits both nodes and edges, or a
    single one, the name (``offsets``, ``images``, ``unit_offsets``, ``distances`` and names with ``edge``
    belong to edges; ``cell``, ``pbc``, ``natoms``, ``energy``, ``stress``, ``y`` to the whole; others to
    nodes). Graphs made by this package do record it, for names that do not tell.

    Parameters
    ----------
    graph
        A ``Data`` with ``edge_index``, or a ``Batch`` of them.

    Returns
    -------
    DGLGraph
        One graph; for a batch a batch.

    Raises
    ------
    ValueError
        If it is no PyG graph, has no ``edge_index``, or holds for the whole graph something that is neither
        a tensor nor a number: DGL has no place for that.
    ImportError
        If DGL is not installed; the message holds the install command.
    """
    return _convert(graph, "pyg", "dgl")


def dgl_to_pyg(graph: DGLGraph) -> Data | Batch:
    """Return a DGL graph, or a batch of them, as PyG graph with the same nodes, edges and data.

    Parameters
    ----------
    graph
        A graph with one type of nodes and of edges, or a batch of them.

    Returns
    -------
    Data or Batch
        ``edge_index`` [2, E] in the order of the edges, ``num_nodes``, and all data under their names;
        PyG has each name once, so data of edges under the same name as of nodes become ``edge_NAME``, and
        `pyg_to_dgl` turns them back. A batch of several becomes a ``Batch``.

    Raises
    ------
    ValueError
        If it is no DGL graph, has several types of nodes or edges, or a name that PyG gives another meaning.
    ImportError
        If PyG is not installed; the message holds the install command.
    """
    return _convert(graph, "dgl", "pyg")


def _convert(graph: Any, source: Library, target: Library) -> Any:
    library = graph_libraries.library_of(graph)
    if library != source:
        raise ValueError(f"the graph is {type(graph).__name__}, expected one of {source!r}")
    if graph_libraries.is_batch(graph):
        parts = graph_libraries.unbatch(graph)
        return graph_libraries.batch([_convert(part, source, target) for part in parts])
    return graph_libraries.build(target, graph_libraries.take_apart(graph))
