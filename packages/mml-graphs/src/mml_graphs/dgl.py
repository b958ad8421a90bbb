"""DGL graphs: built, taken apart, batched, told from other objects. DGL itself is imported on first use.

DGL keeps data of nodes and of edges, and none of a graph. What belongs to the whole graph is therefore kept
once a node, as ``ndata["whole.cell"]`` [N, 1, 3, 3] and so on, every row the same (they share their memory
until graphs are batched). So it goes wherever the graph goes: through ``dgl.batch`` and ``dgl.unbatch``,
``to(device)``, pickling and ``dgl.save_graphs``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from mml_graphs._dgl import import_dgl
from mml_graphs.graph_data import GraphData

if TYPE_CHECKING:
    from dgl import DGLGraph

WHOLE = "whole."


def is_graph(value: object) -> bool:
    """Tell whether an object is a DGL graph, without importing DGL: who has one has imported it."""
    graph_class = getattr(sys.modules.get("dgl"), "DGLGraph", None)
    return graph_class is not None and isinstance(value, graph_class)


def is_batch(graph: DGLGraph) -> bool:
    """Tell whether a graph is a batch of several; a batch of one is as the graph itself."""
    return bool(graph.batch_size != 1)


def count_nodes(graph: DGLGraph) -> int:
    """Count the nodes."""
    return int(graph.num_nodes())


def keys(graph: DGLGraph) -> set[str]:
    """Return the names of all that a graph holds, by ``ndata`` and ``edata``."""
    return {f"ndata.{name}" for name in graph.ndata} | {f"edata.{name}" for name in graph.edata}


def build(data: GraphData) -> DGLGraph:
    """Build a graph.

    Returns
    -------
    DGLGraph
        Nodes in ``ndata``, edges in ``edata``, in the given order; the whole in ``ndata``, under
        ``whole.NAME``, once a node. A Python number there becomes a tensor without dimensions.

    Raises
    ------
    ValueError
        If something that is neither a tensor nor a number belongs to the whole, or it has no node to be
        kept with, or a node key begins with ``whole.``.
    ImportError
        If DGL is not installed, or cannot be for this Python.
    """
    # Copies: DGL keeps the address of the indices it is given. Were they those of the sample, a worker of a
    # DataLoader that moves the sample's tensors to shared memory, to send them, would leave it a freed one.
    graph = import_dgl().graph((data.src.clone(), data.dst.clone()), num_nodes=data.n_nodes)
    for name, value in data.nodes.items():
        reason = reason_against(name)
        if reason:
            raise ValueError(f"{name!r} cannot be a part of the graph: {reason}")
        graph.ndata[name] = value
    for name, value in data.edges.items():
        graph.edata[name] = value
    if data.whole and not data.n_nodes:
        raise ValueError(f"DGL has no place for {sorted(data.whole)} in a graph without nodes")
    for name, value in data.whole.items():
        tensor = _tensor(name, value).to(data.src.device)
        graph.ndata[WHOLE + name] = tensor.expand(data.n_nodes, *tensor.shape)
    return graph


def take_apart(graph: DGLGraph) -> GraphData:
    """Return the parts of one graph.

    Raises
    ------
    ValueError
        If it is a batch, or has several types of nodes or edges.
    """
    if is_batch(graph):
        raise ValueError("'graph' is a batch of graphs, expected one; use dgl.unbatch() first")
    if not graph.is_homogeneous:
        raise ValueError(
            f"'graph' has the node types {graph.ntypes} and the edge types {graph.etypes}, "
            "expected one of each"
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
    """Batch graphs by DGL's own means.

    Raises
    ------
    ValueError
        If their data differ in shape or type.
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
    """Say why a node or edge key cannot have a name; None if it can."""
    if name.startswith(WHOLE):
        return f"names with {WHOLE!r} are for what belongs to the whole graph; rename the key"
    return None


def _tensor(name: str, value: Any) -> torch.Tensor:
    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, bool | int):
        return torch.tensor(value)
    if isinstance(value, float):
        return torch.tensor(value, dtype=torch.float64)
    raise ValueError(
        f"{name!r} is of type {type(value).__name__}, but DGL keeps tensors only; "
        "keep it beside the graph, in the sample"
    )
