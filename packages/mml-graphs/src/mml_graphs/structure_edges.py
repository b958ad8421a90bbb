"""Find the edges of joined structures, with the native search or with one structure after the other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mml_graphs.neighbors import native
from mml_graphs.neighbors.edges import Edges, with_exact_lengths
from mml_graphs.neighbors.find_edges import search
from mml_graphs.neighbors.lattice import Cell
from mml_graphs.neighbors.native import Batch, StructureError
from mml_graphs.sample_tensors import float_dtype
from mml_graphs.structures import Structures

# Function that selects edges, or adds edges, for the given number of atoms.
Selection = Callable[[Edges, int], Edges]


def find_structure_edges(
    structures: Structures, cutoffs: NDArray[np.float64], backend: str, select: Selection | None
) -> Batch:
    """Find the edges of several structures, sorted by source, then destination, then image.

    Parameters
    ----------
    structures
        B structures with N atoms in total.
    cutoffs
        [B], largest distance of an edge, angstrom, inclusive.
    backend
        Name of the neighbor search.
    select
        Function that is applied to the edges of all structures, with float64 distances that are the same for
        an edge and its reverse. ``None`` keeps all edges.

    Returns
    -------
    Batch
        Edges, with floats of the dtype of `float_dtype`. ``degrees`` are those before the selection.

    Raises
    ------
    StructureError
        If a structure is invalid. The error contains its index.
    """
    if native.is_used(backend):
        batch = native.find_batch_edges(
            structures.positions,
            structures.starts,
            structures.cells,
            structures.pbc,
            cutoffs,
            dtype=float_dtype() if select is None else np.float64,
            num_threads=None,
            offsets=select is None,
            unit_offsets=select is None,
        )
        if select is None:
            return batch
        src, dst = batch.edge_index
        edges, degrees = Edges(src, dst, batch.images, batch.distances), batch.degrees  # type: ignore[arg-type]
    else:
        edges = _one_by_one(structures, cutoffs, backend)
        degrees = np.bincount(edges.src, minlength=len(structures.positions))
    if select is not None:
        edges = select(edges, len(structures.positions))
    return with_geometry(structures, edges, degrees)


def search_in_order(positions: NDArray[np.float64], cell: Cell, cutoff: float, backend: str) -> Edges:
    """Find the edges of one structure like `mml_graphs.neighbors.find_edges.search`, in the native order.

    Edges are sorted by source, then destination, then image, and have the lengths of `edge_lengths`.
    """
    edges = search(positions, cell, cutoff, backend)
    if native.is_used(backend):
        return edges
    edges = with_exact_lengths(positions, cell, edges)
    return edges.take(np.lexsort((*edges.images.T[::-1], edges.dst, edges.src)))


def _one_by_one(structures: Structures, cutoffs: NDArray[np.float64], backend: str) -> Edges:
    parts = []
    for index, start in enumerate(structures.starts[:-1]):
        try:
            edges = search_in_order(*structures.one(index), float(cutoffs[index]), backend)
        except ValueError as error:
            raise StructureError(index, str(error)) from error
        parts.append(edges._replace(src=edges.src + start, dst=edges.dst + start))
    return Edges(*map(np.concatenate, zip(*parts, strict=True)))


def with_geometry(structures: Structures, edges: Edges, degrees: NDArray[np.int64]) -> Batch:
    """Add ``images @ cell`` and ``frac[dst] - frac[src] + images``, computed in float64."""
    dtype, shape = float_dtype(), (len(edges.src), 3)
    offsets, unit_offsets = np.empty(shape, dtype), np.empty(shape, dtype)
    ends = np.searchsorted(edges.src, structures.starts)
    for index, (first, last) in enumerate(zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)):
        positions, cell = structures.one(index)
        fractions = positions @ cell.inverse
        rows = slice(first, last)
        src, dst = edges.src[rows] - structures.starts[index], edges.dst[rows] - structures.starts[index]
        offsets[rows] = edges.images[rows] @ cell.matrix
        unit_offsets[rows] = fractions.take(dst, axis=0) - fractions.take(src, axis=0) + edges.images[rows]
    return Batch(
        np.stack(edges[:2]),
        edges.images.astype(dtype, copy=False),
        offsets,
        unit_offsets,
        edges.distances.astype(dtype, copy=False),
        ends[1:] - ends[:-1],
        degrees,
    )
