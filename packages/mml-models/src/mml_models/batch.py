"""Read the graph of a batch: the one place that knows how batches of graphs are laid out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_TO_PYG = 'add PointCloudToGraphTransform("pyg") to the transforms of the data set'
_WITH_EDGES = "add PeriodicPropertiesTransform before PointCloudToGraphTransform"


@dataclass(frozen=True)
class AtomGraph:
    """The arrays of B structures with N atoms and E directed edges in all.

    Parameters
    ----------
    atomic_numbers
        [N] int64.
    pos
        [N, 3], angstrom.
    edge_index
        [2, E] int64: the centre of each edge, and the neighbour whose image it sees.
    offsets
        [E, 3], angstrom: lattice translation of the neighbour; None for molecules.
    structure
        [N] int64: the structure that each atom belongs to.
    num_structures
        B.
    """

    atomic_numbers: Tensor
    pos: Tensor
    edge_index: Tensor
    offsets: Tensor | None
    structure: Tensor
    num_structures: int


def read_graph(batch: Mapping[str, Any]) -> AtomGraph:
    """Take the arrays that encoders need from ``batch["graph"]`` and refuse what cannot be computed on.

    Parameters
    ----------
    batch
        A collated batch, or a single sample. Its `graph` is a PyG ``Data`` or ``Batch``, or any object with
        the attributes `atomic_numbers`, `pos`, `edge_index`, `offsets`, `cell` and, where it holds several
        structures, `batch` and `ptr`.

    Returns
    -------
    AtomGraph
        The same tensors, not copied.

    Raises
    ------
    ValueError
        Where the graph, its edges, or the offsets of a periodic graph are missing, where it has no atoms, or
        where edges point at atoms that are not there.
    TypeError
        Where the graph belongs to DGL.
    """
    graph = batch.get("graph")
    if graph is None:
        raise ValueError(f"The batch has no 'graph', only {sorted(batch)}: {_TO_PYG}.")
    if type(graph).__module__.split(".")[0] == "dgl":
        raise TypeError(f"The graph is a {type(graph).__name__} of DGL, this encoder reads PyG: {_TO_PYG}.")
    for name in ("atomic_numbers", "pos"):
        if getattr(graph, name, None) is None:
            raise ValueError(f"The graph of type {type(graph).__name__} has no '{name}': {_TO_PYG}.")
    atomic_numbers, pos = graph.atomic_numbers, graph.pos
    num_atoms = int(atomic_numbers.shape[0])
    edge_index = getattr(graph, "edge_index", None)
    if edge_index is None:
        raise ValueError(f"The graph has no 'edge_index': {_WITH_EDGES}.")
    if edge_index.shape[1] and not 0 <= int(edge_index.min()) <= int(edge_index.max()) < num_atoms:
        raise ValueError(
            f"The edges point at atoms {int(edge_index.min())} to {int(edge_index.max())}, but the graph has "
            f"{num_atoms} atoms: build the edges again."
        )
    offsets = getattr(graph, "offsets", None)
    if offsets is None and _is_periodic(graph):
        raise ValueError(
            "The graph is periodic (it has a cell) but has no 'offsets', so that distances across the cell's "
            f"faces would be wrong: {_WITH_EDGES}."
        )
    structure, num_structures = _structures(batch, graph, atomic_numbers)
    return AtomGraph(atomic_numbers, pos, edge_index, offsets, structure, num_structures)


def sample_name(batch: Mapping[str, Any], structure: int) -> str:
    """Name a structure of the batch for an error message: its `sample_id`, or its place."""
    names = batch.get("sample_id")
    if isinstance(names, str):
        return f"sample {names}"
    if names is not None and structure < len(names):
        return f"sample {names[structure]}"
    return f"structure {structure} of the batch"


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
