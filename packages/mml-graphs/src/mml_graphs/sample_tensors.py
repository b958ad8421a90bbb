"""Arrays of structures and their edges to the tensors of the sample contract."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from mml_graphs.neighbors import Edges

Arrays = dict[str, NDArray[Any]]

ENDS = ("src_nodes", "dst_nodes")

# numpy casts short arrays several times faster than torch does; it has no bfloat16.
NUMPY_DTYPES: dict[torch.dtype, Any] = {torch.float32: np.float32}


def sample_arrays(
    atomic_numbers: NDArray[np.int64],
    positions: NDArray[np.float64],
    unit_offsets: NDArray[np.float64],
    cell: NDArray[np.float64],
    pbc: ArrayLike,
    edges: Edges,
) -> Arrays:
    """Collect what a sample holds of one structure, or of several that are joined.

    Floats have torch's default dtype where numpy has it. No array shares memory with positions, cell or
    numbers, which may be the caller's.

    Parameters
    ----------
    atomic_numbers
        [N].
    positions
        [N, 3], Cartesian, angstrom.
    unit_offsets
        [E, 3], the edges in fractional coordinates.
    cell
        [B, 3, 3], rows are the lattice vectors, angstrom; zeros for a molecule.
    pbc
        [3] or [B, 3].
    edges
        E edges between the N atoms.

    Returns
    -------
    dict
        ``atomic_numbers``, ``pos``, ``cell``, ``pbc``, ``src_nodes``, ``dst_nodes``, ``images``, ``offsets``,
        ``unit_offsets`` and ``distances``.
    """
    dtype = NUMPY_DTYPES.get(torch.get_default_dtype(), np.float64)
    return {
        "atomic_numbers": np.array(atomic_numbers),
        "pos": positions.astype(dtype),
        "cell": cell.astype(dtype),
        "pbc": np.array(pbc),
        "src_nodes": edges.src,
        "dst_nodes": edges.dst,
        "images": edges.images.astype(dtype),
        "offsets": edges.offsets.astype(dtype),
        "unit_offsets": unit_offsets.astype(dtype),
        "distances": edges.distances.astype(dtype),
    }


def join_arrays(parts: Sequence[Arrays]) -> Arrays:
    """Join the arrays of several parts of a batch.

    Atoms of the edges are counted through; ``src_nodes`` and ``dst_nodes`` are the rows of ``edge_index``.
    """
    joined: Arrays = {
        key: np.concatenate([part[key] for part in parts]) for key in parts[0] if key not in ENDS
    }
    ends = np.empty((2, len(joined["distances"])), dtype=np.int64)
    atom, edge = 0, 0
    for part in parts:
        n_edges = len(part["distances"])
        for row, key in zip(ends, ENDS, strict=True):
            np.add(part[key], atom, out=row[edge : edge + n_edges])
        atom, edge = atom + len(part["pos"]), edge + n_edges
    return joined | dict(zip(("edge_index", *ENDS), (ends, *ends), strict=True))


def as_tensors(arrays: Arrays) -> dict[str, torch.Tensor]:
    """Return arrays as tensors that share their memory, floats in torch's default dtype."""
    tensors = {key: torch.from_numpy(array) for key, array in arrays.items()}
    dtype = torch.get_default_dtype()
    if arrays["pos"].dtype == np.float64 and dtype is not torch.float64:
        return {
            key: value.to(dtype) if value.is_floating_point() else value for key, value in tensors.items()
        }
    return tensors
