"""Convert structures and their edges to the tensors of the sample contract."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from mml_graphs.neighbors.native import Batch
from mml_graphs.structures import Structures

# NumPy has no bfloat16.
NUMPY_DTYPES: dict[torch.dtype, type[np.floating[Any]]] = {torch.float32: np.float32}


def float_dtype() -> type[np.floating[Any]]:
    """Return float32 if it is torch's default dtype, and float64 for any other default dtype."""
    return NUMPY_DTYPES.get(torch.get_default_dtype(), np.float64)


def sample_tensors(structures: Structures, edges: Batch) -> dict[str, torch.Tensor]:
    """Return the tensors of several structures with their edges.

    Parameters
    ----------
    structures
        B structures with N atoms in total.
    edges
        Their E edges, with floats of the dtype of `float_dtype`.

    Returns
    -------
    dict
        ``atomic_numbers`` [N], ``pos`` [N, 3], ``cell`` [B, 3, 3], ``pbc`` [B, 3], ``edge_index`` [2, E] with
        its rows ``src_nodes`` and ``dst_nodes``, ``images``, ``offsets``, ``unit_offsets`` [E, 3] and
        ``distances`` [E]. Floats have torch's default dtype. The tensors share memory with the arguments if
        the dtypes are the same.
    """
    dtype = float_dtype()
    arrays = {
        "atomic_numbers": structures.atomic_numbers,
        "pos": structures.positions.astype(dtype, copy=False),
        "cell": structures.cells.astype(dtype, copy=False),
        "pbc": structures.pbc,
        "edge_index": edges.edge_index,
        "images": edges.images,
        "offsets": edges.offsets,
        "unit_offsets": edges.unit_offsets,
        "distances": edges.distances,
    }
    tensors = {key: torch.from_numpy(array) for key, array in arrays.items()}
    default = torch.get_default_dtype()
    if default not in (torch.float32, torch.float64):
        tensors = {k: each.to(default) if each.is_floating_point() else each for k, each in tensors.items()}
    tensors["src_nodes"], tensors["dst_nodes"] = tensors["edge_index"].unbind()
    return tensors
