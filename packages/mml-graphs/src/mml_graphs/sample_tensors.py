"""Convert arrays of structures and their edges to the tensors of the sample contract."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from mml_graphs.neighbors.edges import BLOCK, Edges
from mml_graphs.neighbors.lattice import Cell

Arrays = dict[str, NDArray[Any]]

ENDS, VECTORS = ("src_nodes", "dst_nodes"), ("images", "offsets", "unit_offsets")
EDGE_ARRAYS = (*ENDS, *VECTORS, "distances")

LARGE_BLOCK = (32 << 20) - (64 << 10)  # bytes; with the library's own overhead, just below its 32 MB limit

# NumPy casts short arrays several times faster than torch does. NumPy has no bfloat16.
NUMPY_DTYPES: dict[torch.dtype, type[np.floating[Any]]] = {torch.float32: np.float32}


@cache
def reuse_memory() -> None:
    """Let the C library keep freed blocks of up to 32 MB for later allocations, once per process.

    By default, glibc returns blocks of about 128 kB or more to the operating system and then allocates them
    again page by page, which takes longer than finding the edges. Freeing one large block raises this limit
    to the size of the block, but at most to 32 MB (mallopt(3), M_MMAP_THRESHOLD). None of the block's pages
    are touched. This has no effect on other C libraries.
    """
    np.empty(LARGE_BLOCK, dtype=np.uint8)


def sample_arrays(
    atomic_numbers: NDArray[np.int64],
    positions: NDArray[np.float64],
    cells: NDArray[np.float64] | None,
    pbc: ArrayLike,
    edges: Edges,
    offsets: NDArray[Any],
    unit_offsets: NDArray[Any],
) -> Arrays:
    """Collect the arrays of one or several structures for a sample or a batch.

    Floats have the dtype of `float_dtype`. The arrays do not share memory with those of the
    structures, which may belong to the caller.

    Parameters
    ----------
    atomic_numbers, positions
        [N] and [N, 3], angstrom: atoms of B structures.
    cells
        [B, 3, 3] or [3, 3], angstrom. ``None`` for a molecule.
    pbc
        [B, 3], periodicity along each of the three lattice vectors.
    edges
        E edges between the N atoms.
    offsets, unit_offsets
        [E, 3] each, from `edge_geometry`.

    Returns
    -------
    dict
        ``atomic_numbers`` [N], ``pos`` [N, 3], ``cell`` [B, 3, 3], ``pbc`` [B, 3], ``src_nodes``,
        ``dst_nodes`` [E], ``images``, ``offsets``, ``unit_offsets`` [E, 3] and ``distances`` [E].
    """
    reuse_memory()
    dtype = float_dtype()
    return {
        "atomic_numbers": np.array(atomic_numbers),
        "pos": positions.astype(dtype),
        "cell": np.zeros((1, 3, 3), dtype) if cells is None else cells.astype(dtype).reshape(-1, 3, 3),
        "pbc": np.array(pbc),
        "src_nodes": edges.src,
        "dst_nodes": edges.dst,
        "images": edges.images.astype(dtype, copy=False),
        "offsets": offsets.astype(dtype, copy=False),
        "unit_offsets": unit_offsets.astype(dtype, copy=False),
        "distances": edges.distances.astype(dtype, copy=False),
    }


def edge_geometry(
    positions: NDArray[np.float64], cell: Cell, edges: Edges
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Compute the offsets of a structure's edges, and the edges in fractional coordinates, in float64.

    Parameters
    ----------
    positions
        [N, 3], angstrom.
    cell
        Completed cell.
    edges
        E edges.

    Returns
    -------
    offsets, unit_offsets
        [E, 3] each: ``images @ cell``, angstrom, and ``frac[dst] - frac[src] + images``. Rounded to the
        dtype of `float_dtype`.
    """
    fractions = positions @ cell.inverse
    offsets = np.empty((len(edges.src), 3), dtype=float_dtype())
    unit_offsets = np.empty_like(offsets)
    for start in range(0, len(offsets), BLOCK):
        rows = slice(start, start + BLOCK)
        images = edges.images[rows]
        offsets[rows] = images @ cell.matrix
        vectors = fractions.take(edges.dst[rows], axis=0)
        vectors -= fractions.take(edges.src[rows], axis=0)
        vectors += images
        unit_offsets[rows] = vectors
    return offsets, unit_offsets


def float_dtype() -> type[np.floating[Any]]:
    """Return float32 if it is torch's default dtype, and float64 for any other default dtype."""
    return NUMPY_DTYPES.get(torch.get_default_dtype(), np.float64)


def empty_edges(num_edges: int) -> Arrays:
    """Allocate the edge arrays of a sample or a batch. Floats have the dtype of `float_dtype`."""
    arrays = {key: np.empty((num_edges, 3), dtype=float_dtype()) for key in VECTORS}
    arrays["distances"] = np.empty(num_edges, dtype=float_dtype())
    return arrays | {key: np.empty(num_edges, dtype=np.int64) for key in ENDS}


def copy_edges(source: Arrays, target: Arrays) -> None:
    """Copy the edge arrays from ``source`` to ``target``."""
    for key in EDGE_ARRAYS:
        target[key][...] = source[key]


def empty_batch(num_structures: int, num_atoms: int, num_edges: int) -> Arrays:
    """Allocate the arrays of a batch as in `sample_arrays`. The edge ends are rows of ``edge_index``."""
    reuse_memory()
    dtype = np.dtype(float_dtype())
    integer, truth = np.dtype(np.int64), np.dtype(np.bool_)
    arrays = _in_one_block(
        {
            "atomic_numbers": ((num_atoms,), integer),
            "pos": ((num_atoms, 3), dtype),
            "cell": ((num_structures, 3, 3), dtype),
            "pbc": ((num_structures, 3), truth),
            "edge_index": ((2, num_edges), integer),
            **dict.fromkeys(VECTORS, ((num_edges, 3), dtype)),
            "distances": ((num_edges,), dtype),
        }
    )
    arrays.update(zip(ENDS, arrays["edge_index"], strict=True))
    return arrays


def _in_one_block(forms: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]) -> Arrays:
    """Allocate arrays in one block of memory, which the C library reuses sooner than several blocks."""
    sizes = {key: math.prod(shape) * dtype.itemsize for key, (shape, dtype) in forms.items()}
    block = np.empty(sum(size + 64 for size in sizes.values()) + 64, dtype=np.uint8)
    arrays, start = {}, -block.ctypes.data % 64
    for key, (shape, dtype) in forms.items():
        arrays[key] = block[start : start + sizes[key]].view(dtype).reshape(shape)
        start += sizes[key] + -sizes[key] % 64
    return arrays


def as_tensors(arrays: Arrays) -> dict[str, torch.Tensor]:
    """Return arrays as tensors that share their memory. Floats are converted to torch's default dtype."""
    tensors = {key: torch.from_numpy(array) for key, array in arrays.items()}
    src, dst = arrays["src_nodes"], arrays["dst_nodes"]
    if len(src) > BLOCK and src.base is not None and src.base is dst.base and src.base.shape == (2, len(src)):
        # Return rows of one tensor here too, so that `graph_data.join_ends` finds this tensor.
        tensors["src_nodes"], tensors["dst_nodes"] = torch.from_numpy(src.base).unbind()
    dtype = torch.get_default_dtype()
    if arrays["pos"].dtype == np.float64 and dtype is not torch.float64:
        return {
            key: value.to(dtype) if value.is_floating_point() else value for key, value in tensors.items()
        }
    return tensors
