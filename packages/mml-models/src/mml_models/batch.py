"""Read and validate the graph of a batch. Encoders access batches only through this module."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from mml_samples import Batch, Graph, atom_counts, graph_of, sample_name, structure_index
from torch import Tensor

_MAKE_GRAPHS = "Add PointCloudToGraphTransform to the transforms of the data set."
_WITH_EDGES = "Add PeriodicPropertiesTransform before PointCloudToGraphTransform."


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


def read_graph(batch: Batch) -> AtomGraph:
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
    graph = graph_of(batch)
    kind = f"{type(batch['graph']).__module__.split('.')[0]}.{type(batch['graph']).__name__}"
    if not any(hasattr(graph, name) for name in ("atomic_numbers", "pos", "edge_index")):
        raise TypeError(f"The graph must be a PyG or DGL graph, got a {kind}. {_MAKE_GRAPHS}")
    for name in ("atomic_numbers", "pos"):
        if getattr(graph, name, None) is None:
            raise ValueError(f"The graph of type {kind} has no '{name}'. {_MAKE_GRAPHS}")
    atomic_numbers, pos = graph.atomic_numbers, graph.pos
    edge_index, offsets = getattr(graph, "edge_index", None), getattr(graph, "offsets", None)
    if edge_index is None:
        raise ValueError(f"The graph has no 'edge_index'. {_WITH_EDGES}")
    _check_shapes(atomic_numbers, pos, edge_index, offsets)
    if offsets is None and _is_periodic(graph):
        raise ValueError(
            "The graph is periodic (it has a cell) but has no 'offsets', so distances across the faces of "
            f"the cell would be wrong. {_WITH_EDGES}"
        )
    counts = atom_counts(graph)
    empty = (counts == 0).nonzero()
    if empty.numel() or not counts.numel():
        name = sample_name(batch, int(empty[0])) if empty.numel() else "The batch"
        raise ValueError(f"{name} has no atoms. Remove empty structures from the data set.")
    structure = structure_index(graph)
    _check_edges(edge_index, structure, batch)
    return AtomGraph(atomic_numbers, pos, edge_index, offsets, structure, int(counts.numel()))


def _check_shapes(atomic_numbers: Tensor, pos: Tensor, edge_index: Tensor, offsets: Tensor | None) -> None:
    num_atoms, num_edges = atomic_numbers.shape[0], edge_index.shape[-1]
    expected = {"pos": (pos, (num_atoms, 3)), "edge_index": (edge_index, (2, num_edges))}
    if offsets is not None:
        expected["offsets"] = (offsets, (num_edges, 3))
    for name, (tensor, shape) in expected.items():
        if tensor.shape != shape:
            raise ValueError(
                f"The graph's '{name}' has shape {[*tensor.shape]}, expected {[*shape]} for {num_atoms} "
                f"atoms and {num_edges} edges. {_MAKE_GRAPHS}"
            )
    if edge_index.dtype != torch.int64:
        raise ValueError(f"The graph's 'edge_index' must have dtype torch.int64, got {edge_index.dtype}")
    if not pos.is_floating_point():
        raise ValueError(f"The graph's 'pos' must have a floating-point dtype, got {pos.dtype}")
    if atomic_numbers.is_floating_point():
        raise ValueError(
            f"The graph's 'atomic_numbers' must have an integer dtype, got {atomic_numbers.dtype}"
        )


def _check_edges(edge_index: Tensor, structure: Tensor, batch: Batch) -> None:
    if not edge_index.shape[1]:
        return
    num_atoms = structure.shape[0]
    if not 0 <= int(edge_index.min()) <= int(edge_index.max()) < num_atoms:
        outside = ((edge_index < 0) | (edge_index >= num_atoms)).any(dim=0)
        edge = int(outside.nonzero()[0])
        ends = edge_index[:, edge].tolist()
        inside = [end for end in ends if 0 <= end < num_atoms]
        where = f" of {sample_name(batch, int(structure[inside[0]]))}" if inside else ""
        raise ValueError(
            f"Edge {edge}{where} joins atoms {ends[0]} and {ends[1]}, but the atoms of the graph are "
            f"numbered from 0 to {num_atoms - 1}. Rebuild the edges."
        )
    owners = structure[edge_index]
    if not torch.equal(owners[0], owners[1]):
        edge = int((owners[0] != owners[1]).nonzero()[0])
        first, second = (sample_name(batch, int(owner)) for owner in owners[:, edge])
        raise ValueError(
            f"Edge {edge} joins {first} and {second}. Build the edges of each structure separately."
        )


def _is_periodic(graph: Graph) -> bool:
    pbc = getattr(graph, "pbc", None)
    if pbc is not None:
        return bool(torch.as_tensor(pbc).any())
    return getattr(graph, "cell", None) is not None
