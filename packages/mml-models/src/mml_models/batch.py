"""Read and validate the graph of a batch. Encoders access batches only through this module."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mml_models.dgl_graph import is_dgl, read_dgl

_MAKE_GRAPHS = "add PointCloudToGraphTransform to the transforms of the data set"
_WITH_EDGES = "add PeriodicPropertiesTransform before PointCloudToGraphTransform"


@dataclass(frozen=True)
class AtomGraph:
    """Arrays of a batch of B structures, with N atoms and E directed edges in total.

    Parameters
    ----------
    atomic_numbers
        Atomic numbers, [N] int64.
    pos
        Cartesian positions, [N, 3], angstrom.
    edge_index
        Atom indices, [2, E] int64. The first row is the center of each edge, the second row its neighbor.
    offsets
        Lattice translation of the neighbor of each edge, [E, 3], angstrom. None for molecules.
    structure
        Index of the structure that each atom belongs to, [N] int64.
    num_structures
        Number of structures B.
    """

    atomic_numbers: Tensor
    pos: Tensor
    edge_index: Tensor
    offsets: Tensor | None
    structure: Tensor
    num_structures: int


def read_graph(batch: Mapping[str, Any]) -> AtomGraph:
    """Read the arrays that encoders need from ``batch["graph"]`` and validate them.

    Parameters
    ----------
    batch
        A collated batch or a single sample. Its `graph` is a PyG ``Data`` or ``Batch``, a ``DGLGraph``, or
        any object with the attributes `atomic_numbers`, `pos`, `edge_index`, `offsets` and `cell`. A graph of
        several structures also has the attributes `batch` and `ptr`.

    Returns
    -------
    AtomGraph
        The tensors of the graph. PyG tensors are not copied.

    Raises
    ------
    ValueError
        If the graph, its edges, or the offsets of a periodic graph are missing; if an array has the wrong
        shape or dtype; if a structure has no atoms; if an edge refers to an atom index out of range or joins
        atoms of different structures.
    TypeError
        If the batch is not a mapping, or the graph is not a PyG or DGL graph.
    """
    if not isinstance(batch, Mapping):
        raise TypeError(
            f"The batch is a {type(batch).__name__}: give a dict that holds the graph as 'graph'."
        )
    graph = batch.get("graph")
    if graph is None:
        raise ValueError(f"The batch has no 'graph', only {sorted(batch)}: {_MAKE_GRAPHS}.")
    kind = f"{type(graph).__module__.split('.')[0]}.{type(graph).__name__}"
    if is_dgl(graph):
        graph = read_dgl(graph)
    elif not any(hasattr(graph, name) for name in ("atomic_numbers", "pos", "edge_index")):
        raise TypeError(f"The graph is a {kind}, of neither PyG nor DGL: {_MAKE_GRAPHS}.")
    for name in ("atomic_numbers", "pos"):
        if getattr(graph, name, None) is None:
            raise ValueError(f"The graph of type {kind} has no '{name}': {_MAKE_GRAPHS}.")
    edge_index, offsets = getattr(graph, "edge_index", None), getattr(graph, "offsets", None)
    if edge_index is None:
        raise ValueError(f"The graph has no 'edge_index': {_WITH_EDGES}.")
    _check_shapes(graph.atomic_numbers, graph.pos, edge_index, offsets)
    if offsets is None and _is_periodic(graph):
        raise ValueError(
            "The graph is periodic (it has a cell) but has no 'offsets', so that distances across the cell's "
            f"faces would be wrong: {_WITH_EDGES}."
        )
    structure, num_structures = _structures(batch, graph, graph.atomic_numbers)
    _check_edges(edge_index, structure, batch)
    return AtomGraph(graph.atomic_numbers, graph.pos, edge_index, offsets, structure, num_structures)


def sample_name(batch: Mapping[str, Any], structure: int) -> str:
    """Return the name of a structure for an error message: its `sample_id`, or its index in the batch."""
    names = batch.get("sample_id")
    if isinstance(names, str):
        return f"sample {names}"
    if names is not None and structure < len(names):
        return f"sample {names[structure]}"
    return f"structure {structure} of the batch"


def _check_shapes(atomic_numbers: Tensor, pos: Tensor, edge_index: Tensor, offsets: Tensor | None) -> None:
    num_atoms, num_edges = atomic_numbers.shape[0], edge_index.shape[-1]
    expected = {"pos": (pos, (num_atoms, 3)), "edge_index": (edge_index, (2, num_edges))}
    if offsets is not None:
        expected["offsets"] = (offsets, (num_edges, 3))
    for name, (tensor, shape) in expected.items():
        if tensor.shape != shape:
            raise ValueError(
                f"The graph's '{name}' has shape {[*tensor.shape]}, not {[*shape]}, with {num_atoms} atoms "
                f"and {num_edges} edges: {_MAKE_GRAPHS}."
            )
    if edge_index.dtype != torch.int64:
        raise ValueError(f"The graph's 'edge_index' holds {edge_index.dtype}, not torch.int64: convert it.")
    if not pos.is_floating_point():
        raise ValueError(f"The graph's 'pos' holds {pos.dtype}, not floats: convert it.")
    if atomic_numbers.is_floating_point():
        raise ValueError(
            f"The graph's 'atomic_numbers' hold {atomic_numbers.dtype}, not integers: convert them."
        )


def _check_edges(edge_index: Tensor, structure: Tensor, batch: Mapping[str, Any]) -> None:
    if not edge_index.shape[1]:
        return
    num_atoms = structure.shape[0]
    if not 0 <= int(edge_index.min()) <= int(edge_index.max()) < num_atoms:
        outside = ((edge_index < 0) | (edge_index >= num_atoms)).any(dim=0)
        edge = int(outside.nonzero()[0])
        ends = edge_index[:, edge].tolist()
        inside = [end for end in ends if 0 <= end < num_atoms]
        where = f" in {sample_name(batch, int(structure[inside[0]]))}" if inside else ""
        raise ValueError(
            f"Edge {edge}{where} joins atoms {ends[0]} and {ends[1]}, but the graph has {num_atoms} atoms, "
            f"0 to {num_atoms - 1}: build the edges again."
        )
    owners = structure[edge_index]
    if not torch.equal(owners[0], owners[1]):
        edge = int((owners[0] != owners[1]).nonzero()[0])
        first, second = (sample_name(batch, int(owner)) for owner in owners[:, edge])
        raise ValueError(
            f"Edge {edge} joins {first} and {second}: build the edges of each structure by itself."
        )


def _is_periodic(graph: Any) -> bool:
    pbc = getattr(graph, "pbc", None)
    if pbc is not None:
        return bool(torch.as_tensor(pbc).any())
    return getattr(graph, "cell", None) is not None


def _structures(batch: Mapping[str, Any], graph: Any, atomic_numbers: Tensor) -> tuple[Tensor, int]:
    structure, ptr = getattr(graph, "batch", None), getattr(graph, "ptr", None)
    if structure is None:
        structure = torch.zeros_like(atomic_numbers, dtype=torch.int64)
        counts = torch.tensor([atomic_numbers.shape[0]])
    elif ptr is not None:
        counts = ptr.diff()
    else:
        counts = torch.bincount(structure)
    empty = (counts == 0).nonzero()
    if empty.numel() or not counts.numel():
        where = sample_name(batch, int(empty[0])) if empty.numel() else "the batch"
        raise ValueError(f"There are no atoms in {where}: remove empty structures from the data set.")
    return structure, int(counts.numel())
