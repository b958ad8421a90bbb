"""Convert graphs between PyG and DGL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mml_samples import Graph

from mml_graphs.libraries import graph_libraries
from mml_graphs.libraries.graph_libraries import Library

if TYPE_CHECKING:
    from dgl import DGLGraph
    from torch_geometric.data import Batch, Data


def pyg_to_dgl(graph: Data | Batch) -> DGLGraph:
    """Convert a PyG graph, or a batch of them, to a DGL graph with the same nodes, edges and data.

    The order of the edges is kept, and an edge may occur several times. Data of the whole graph is stored in
    ``ndata`` as ``whole.NAME`` [N, ...], with the same value for each node. `dgl_to_pyg` reverses this.

    PyG does not record whether a key belongs to nodes, edges or the whole graph. The number of rows decides.
    If it matches both nodes and edges, or is one, the name decides: ``offsets``, ``images``,
    ``unit_offsets``, ``distances`` and names that contain ``edge`` belong to edges; ``cell``, ``pbc``,
    ``natoms``, ``energy``, ``stress`` and ``y`` belong to the whole graph; all others belong to nodes. Graphs
    made by this package record the assignment for keys whose names are ambiguous.

    Parameters
    ----------
    graph
        A ``Data`` with ``edge_index``, or a ``Batch`` of them.

    Returns
    -------
    DGLGraph
        A single graph, or a batch if the input is a batch.

    Raises
    ------
    ValueError
        If the input is not a PyG graph, has no ``edge_index``, or has data of the whole graph that is neither
        a tensor nor a number, which DGL cannot store.
    ImportError
        If DGL is not installed. The message contains the install command.
    """
    return _convert(graph, "pyg", "dgl")


def dgl_to_pyg(graph: DGLGraph) -> Data | Batch:
    """Convert a DGL graph, or a batch of them, to a PyG graph with the same nodes, edges and data.

    Parameters
    ----------
    graph
        A graph with one node type and one edge type, or a batch of them.

    Returns
    -------
    Data or Batch
        Graph with ``edge_index`` [2, E] in the order of the edges, ``num_nodes``, and all data under their
        names. PyG allows each name only once, so edge data with the same name as node data is stored as
        ``edge_NAME``; `pyg_to_dgl` reverses this. A batch of several graphs becomes a ``Batch``.

    Raises
    ------
    ValueError
        If the input is not a DGL graph, has several node or edge types, or uses a name that is reserved in
        PyG.
    ImportError
        If PyG is not installed. The message contains the install command.
    """
    return _convert(graph, "dgl", "pyg")


def _convert(graph: Graph, source: Library, target: Library) -> Graph:
    library = graph_libraries.library_of(graph)
    if library != source:
        raise ValueError(f"graph is of type {type(graph).__name__}, expected a graph of {source!r}")
    if graph_libraries.is_batch(graph):
        parts = graph_libraries.unbatch(graph)
        return graph_libraries.batch([_convert(part, source, target) for part in parts])
    return graph_libraries.build(target, graph_libraries.take_apart(graph))
