"""Arrays of structures and their edges to the tensors of the sample contract."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mml_graphs.lattice import Cell
from mml_graphs.neighbors import BLOCK, Edges
from mml_graphs.sample import Structure

Arrays = dict[str, NDArray[Any]]

ENDS = ("src_nodes", "dst_nodes")

# numpy casts short arrays several times faster than torch does; it has no bfloat16.
NUMPY_DTYPES: dict[torch.dtype, type[np.floating[Any]]] = {torch.float32: np.float32}


def sample_arrays(
    structures: Sequence[Structure], edges: Edges, offsets: NDArray[Any], unit_offsets: NDArray[Any]
) -> Arrays:
    """Collect what a sample, or a batch, holds of one structure or of several.

    Floats have torch's default dtype where numpy has it. No array shares memory with those of the structures,
    which may be the caller's.

    Parameters
    ----------
    structures
        B structures with N atoms together.
    edges
        E edges between the N atoms.
    offsets, unit_offsets
        [E, 3], as from `edge_geometry`.

    Returns
    -------
    dict
        ``atomic_numbers`` [N], ``pos`` [N, 3], ``cell`` [B, 3, 3], ``pbc`` [B, 3], ``src_nodes``,
        ``dst_nodes`` [E], ``images``, ``offsets``, ``unit_offsets`` [E, 3] and ``distances`` [E].
    """
    dtype = float_dtype()
    numbers, positions = structures[0].atomic_numbers, structures[0].positions
    if len(structures) > 1:
        numbers = np.concatenate([structure.atomic_numbers for structure in structures])
        positions = np.concatenate([structure.positions for structure in structures])
    cells = np.zeros((len(structures), 3, 3), dtype=dtype)
    for row, structure in enumerate(structures):
        if structure.cell is not None:
            cells[row] = structure.cell
    return {
        "atomic_numbers": np.array(numbers),
        "pos": positions.astype(dtype),
        "cell": cells,
        "pbc": np.array([structure.pbc for structure in structures]),
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
        The cell.
    edges
        E edges.

    Returns
    -------
    offsets, unit_offsets
        [E, 3]: ``images @ cell``, angstrom, and ``frac[dst] - frac[src] + images``; rounded to torch's
        default dtype where numpy has it.
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
    """Return the dtype of numpy that is nearest to torch's default one."""
    return NUMPY_DTYPES.get(torch.get_default_dtype(), np.float64)


def join_arrays(parts: Sequence[Arrays]) -> Arrays:
    """Join the arrays of several parts of a batch.

    Atoms of the edges are counted through; ``src_nodes`` and ``dst_nodes`` are the rows of ``edge_index``.
    """
    rows = {key: sum(len(part[key]) for part in parts) for key in parts[0]}
    shapes = {key: (rows[key], *array.shape[1:]) for key, array in parts[0].items() if key not in ENDS}
    shapes["edge_index"] = (2, rows[ENDS[0]])
    joined = _in_one_block(
        shapes, {**{key: array.dtype for key, array in parts[0].items()}, "edge_index": np.dtype(np.int64)}
    )
    joined.update(zip(ENDS, joined["edge_index"], strict=True))
    starts = dict.fromkeys(rows, 0)
    for part in parts:
        first_atom = starts["pos"]
        for key, array in part.items():
            place = joined[key][starts[key] : starts[key] + len(array)]
            if key in ENDS:
                np.add(array, first_atom, out=place)
            else:
                place[...] = array
            starts[key] += len(array)
    return joined


def _in_one_block(shapes: Mapping[str, tuple[int, ...]], dtypes: Mapping[str, np.dtype[Any]]) -> Arrays:
    """Allocate arrays side by side.

    One large block, freed as a whole, is what the C library keeps for the next batch; many of a medium size
    it hands back to the system, and getting them again page by page takes a third of the time of a batch.
    """
    sizes = {key: math.prod(shape) * dtypes[key].itemsize for key, shape in shapes.items()}
    block = np.empty(sum(size + 64 for size in sizes.values()) + 64, dtype=np.uint8)
    arrays, start = {}, -block.ctypes.data % 64
    for key, shape in shapes.items():
        arrays[key] = block[start : start + sizes[key]].view(dtypes[key]).reshape(shape)
        start += sizes[key] + -sizes[key] % 64
    return arrays


def as_tensors(arrays: Arrays) -> dict[str, torch.Tensor]:
    """Return arrays as tensors that share their memory, floats in torch's default dtype."""
    tensors = {key: torch.from_numpy(array) for key, array in arrays.items()}
    dtype = torch.get_default_dtype()
    if arrays["pos"].dtype == np.float64 and dtype is not torch.float64:
        return {
            key: value.to(dtype) if value.is_floating_point() else value for key, value in tensors.items()
        }
    return tensors
