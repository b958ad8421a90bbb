"""Build, take apart, batch and recognize DGL graphs. DGL is imported on first use.

DGL stores data of nodes and of edges, but no data of a graph. Data of the whole graph is therefore repeated
for each node, as ``ndata["whole.cell"]`` [N, 1, 3, 3] and so on, with equal rows (which share their memory
until graphs are batched). This data is preserved by ``dgl.batch``, ``dgl.unbatch``, ``to(device)``, pickling
and ``dgl.save_graphs``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from mml_graphs.libraries.graph_data import GraphData
from mml_graphs.libraries.import_dgl import import_dgl

if TYPE_CHECKING:
    from dgl import DGLGraph

WHOLE = "whole."


def is_graph(value: object) -> bool:
    """Return whether an object is a DGL graph, without importing DGL.

    If DGL has not been imported yet, the object cannot be one of its graphs.
    """
    module = sys.modules.get("dgl")
    return module is not None and isinstance(value, getattr(module, "DGLGraph", ()))


def is_batch(graph: DGLGraph) -> bool:
    """Return whether a graph is a batch of several graphs. A batch of one graph counts as a single graph."""
    return bool(graph.batch_size != 1)


def count_nodes(graph: DGLGraph) -> int:
    """Return the number of nodes."""
    return int(graph.num_nodes())


def keys(graph: DGLGraph) -> set[str]:
    """Return the names of all data of a graph, as ``ndata.NAME`` and ``edata.NAME``."""
    return {f"ndata.{name}" for name in graph.ndata} | {f"edata.{name}" for name in graph.edata}


def build(data: GraphData) -> DGLGraph:
    """Build a DGL graph.

    Returns
    -------
    DGLGraph
        Graph with node data in ``ndata`` and edge data in ``edata``, in the given order. Data of the whole
        graph is repeated for each node in ``ndata`` under ``whole.NAME``. Python numbers of the whole graph
        become tensors without dimensions.

    Raises
    ------
    ValueError
        If a value of the whole graph is neither a tensor nor a number, the graph has such values but no
        nodes, or a node key begins with ``whole.``.
    ImportError
        If DGL is not installed, or not available for this version of Python.
    """
    # Copy the indices, because DGL keeps the address of their memory. A DataLoader worker moves the tensors
    # of the sample to shared memory to send them. Without the copies, DGL would be left with the address of
    # freed memory.
    graph = import_dgl().graph((data.src.clone(), data.dst.clone()), num_nodes=data.num_nodes)
    for name, value in data.nodes.items():
        reason = reason_against(name)
        if reason:
            raise ValueError(f"data of a graph cannot have the name {name!r}: {reason}")
        graph.ndata[name] = value
    for name, value in data.edges.items():
        graph.edata[name] = value
    if data.whole and not data.num_nodes:
        raise ValueError(f"DGL cannot store {sorted(data.whole)} in a graph without nodes")
    for name, value in data.whole.items():
        tensor = _tensor(name, value).to(data.src.device)
        graph.ndata[WHOLE + name] = tensor.expand(data.num_nodes, *tensor.shape)
    return graph


def take_apart(graph: DGLGraph) -> GraphData:
    """Return the parts of one graph.

    Raises
    ------
    ValueError
        If the graph is a batch, or has several node or edge types.
    """
    if is_batch(graph):
        raise ValueError("'graph' is a batch of graphs, expected a single graph. Call dgl.unbatch() first.")
    if not graph.is_homogeneous:
        raise ValueError(
            f"'graph' has the node types {graph.ntypes} and the edge types {graph.etypes}, "
            "expected a single type of each"
        )
    nodes, whole = {}, {}
    for name, value in graph.ndata.items():
        if name.startswith(WHOLE):
            whole[name.removeprefix(WHOLE)] = value[0]
        else:
            nodes[name] = value
    src, dst = graph.edges(order="eid")
    return GraphData(nodes, dict(graph.edata), src.long(), dst.long(), whole, count_nodes(graph))


def batch(graphs: Sequence[DGLGraph]) -> DGLGraph:
    """Batch graphs with ``dgl.batch``.

    Raises
    ------
    ValueError
        If the data of the graphs differ in shape or type.
    """
    dgl = import_dgl()
    try:
        return dgl.batch(list(graphs))
    except dgl.DGLError as error:
        raise ValueError(str(error)) from error


def unbatch(graph: DGLGraph) -> list[DGLGraph]:
    """Return the graphs of a batch."""
    return import_dgl().unbatch(graph)


def reason_against(name: str) -> str | None:
    """Return the reason why a node or edge key cannot have this name, or ``None`` if it can."""
    if name.startswith(WHOLE):
        return f"names that begin with {WHOLE!r} are reserved for data of the whole graph. Rename the key."
    return None


def _tensor(name: str, value: Any) -> torch.Tensor:
    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, bool | int):
        return torch.tensor(value)
    if isinstance(value, float):
        return torch.tensor(value, dtype=torch.float64)
    raise ValueError(
        f"{name!r} is of type {type(value).__name__}, but DGL stores only tensors. "
        "Keep it in the sample instead."
    )
