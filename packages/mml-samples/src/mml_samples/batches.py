"""Read the graph of a batch, and the assignment of its atoms to structures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mml_samples.dgl import DGLView, is_dgl
from mml_samples.sample import Graph

if TYPE_CHECKING:
    from torch import Tensor


def graph_of(batch: Mapping[str, object]) -> Graph:
    """Return the graph of a batch or of a sample. A DGL graph is returned as a `DGLView`.

    Raises
    ------
    TypeError
        If the batch is not a mapping.
    ValueError
        If the batch has no graph, or a DGL graph has several types of nodes or edges.
    """
    if not isinstance(batch, Mapping):
        raise TypeError(
            f"A batch must be a dict with a graph under the key 'graph', got a {type(batch).__name__}"
        )
    graph = batch.get("graph")
    if graph is None:
        raise ValueError(
            f"The batch has no 'graph', its keys are {sorted(batch)}. Add PointCloudToGraphTransform to the "
            "transforms of the data set."
        )
    return DGLView(graph) if is_dgl(graph) else graph


def atom_counts(graph: Graph) -> Tensor:
    """Return the number of atoms of each structure, [B] int64.

    They are read from ``ptr``, ``natoms`` or ``batch``. A graph without ``ptr`` and ``batch`` is one
    structure.
    """
    if (ptr := getattr(graph, "ptr", None)) is not None:
        return ptr.diff()
    structure = getattr(graph, "batch", None)
    if structure is None:
        return structure_index(graph).new_full((1,), len(graph.atomic_numbers))
    natoms = getattr(graph, "natoms", None)
    return structure.bincount() if natoms is None else natoms.view(-1)


def structure_index(graph: Graph) -> Tensor:
    """Return the index of the structure of each atom, [N] int64. All are zero in a graph of one structure."""
    index = getattr(graph, "batch", None)
    return graph.atomic_numbers.new_zeros(len(graph.atomic_numbers)).long() if index is None else index
