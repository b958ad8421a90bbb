"""Arrays of a structure and its edges to the tensors of the sample contract."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from mml_graphs.neighbors import Edges

# numpy casts short arrays several times faster than torch does.
NUMPY_DTYPES: dict[torch.dtype, Any] = {torch.float32: np.float32, torch.float64: np.float64}


def sample_tensors(
    atomic_numbers: NDArray[np.int64],
    positions: NDArray[np.float64],
    fractions: NDArray[np.float64],
    cell: NDArray[np.float64],
    pbc: ArrayLike,
    edges: Edges,
) -> dict[str, torch.Tensor]:
    """Make the tensors of one structure, or of the joined structures of a batch.

    Floats come out in torch's default dtype. No tensor shares memory with positions, cell or numbers, which
    may be the caller's.

    Parameters
    ----------
    atomic_numbers
        [N].
    positions, fractions
        [N, 3]: Cartesian, angstrom, and fractional.
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
    dtype = torch.get_default_dtype()
    unit_offsets = fractions.take(edges.dst, axis=0)
    unit_offsets -= fractions.take(edges.src, axis=0)
    unit_offsets += edges.images
    return {
        "atomic_numbers": torch.from_numpy(np.array(atomic_numbers)),
        "pos": _floats(positions, dtype),
        "cell": _floats(cell, dtype),
        "pbc": torch.from_numpy(np.array(pbc)),
        "src_nodes": torch.from_numpy(edges.src),
        "dst_nodes": torch.from_numpy(edges.dst),
        "images": _floats(edges.images, dtype),
        "offsets": _floats(edges.offsets, dtype),
        "unit_offsets": _floats(unit_offsets, dtype),
        "distances": _floats(edges.distances, dtype),
    }


def _floats(array: NDArray[np.float64], dtype: torch.dtype) -> torch.Tensor:
    if dtype in NUMPY_DTYPES:
        return torch.from_numpy(array.astype(NUMPY_DTYPES[dtype]))
    return torch.from_numpy(array).to(dtype)
