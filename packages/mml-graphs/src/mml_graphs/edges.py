"""The edges of a sample, completed and checked, as the tensors that a graph holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from mml_graphs.sample import read_structure

GRAPH_KEYS = (
    "atomic_numbers",
    "pos",
    "edge_index",
    "offsets",
    "images",
    "distances",
    "cell",
    "pbc",
    "natoms",
)


def is_periodic(sample: Mapping[str, Any]) -> bool:
    """Tell whether any direction is periodic: by ``pbc``, else by whether there is a cell."""
    if "pbc" in sample:
        return bool(torch.as_tensor(sample["pbc"]).any())
    if any(key in sample for key in ("cell", "lattice_params", "lattice_features")):
        return True
    lattice = getattr(sample.get("structure"), "lattice", None)
    return lattice is not None and any(lattice.pbc)


def edge_tensors(sample: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Collect nodes and edges of a sample that has ``src_nodes`` and ``dst_nodes``.

    Where a sample that is not periodic has nothing but these two, ``images`` and ``offsets`` are zero;
    ``offsets`` follow from ``images``, and ``distances`` from positions and offsets.

    Parameters
    ----------
    sample
        A sample with edges; it is not changed.

    Returns
    -------
    dict
        ``atomic_numbers`` [N], ``pos`` [N, 3], ``edge_index`` [2, E], ``offsets``, ``images`` [E, 3],
        ``distances`` [E], ``cell`` [1, 3, 3], ``pbc`` [1, 3], ``natoms`` [1].

    Raises
    ------
    ValueError
        If keys are missing or do not fit together.
    """
    dtype = torch.get_default_dtype()
    if not all(isinstance(sample.get(key), torch.Tensor) for key in ("atomic_numbers", "pos", "cell", "pbc")):
        structure = read_structure(sample)
        sample = {
            **sample,
            "atomic_numbers": torch.tensor(structure.atomic_numbers),
            "pos": torch.tensor(structure.positions, dtype=dtype),
            "cell": torch.zeros(3, 3)
            if structure.cell is None
            else torch.tensor(structure.cell, dtype=dtype),
            "pbc": torch.tensor(structure.pbc),
        }
    numbers, pos, cell, pbc = (sample[key] for key in ("atomic_numbers", "pos", "cell", "pbc"))
    src, dst = torch.as_tensor(sample["src_nodes"]), torch.as_tensor(sample["dst_nodes"])
    if src.ndim != 1 or src.shape != dst.shape:
        raise ValueError(
            f"'src_nodes' has shape {list(src.shape)} and 'dst_nodes' {list(dst.shape)}, expected [E] both"
        )
    edge_index = torch.stack([src, dst])
    n_atoms, n_edges = len(numbers), edge_index.shape[1]
    if pos.shape != (n_atoms, 3):
        raise ValueError(f"'pos' has shape {list(pos.shape)}, expected [{n_atoms}, 3]")
    cell = cell.reshape(1, 3, 3)
    if n_edges:
        low, high = edge_index.aminmax()
        if low < 0 or high >= n_atoms:
            wrong = int(low if low < 0 else high)
            raise ValueError(
                f"'src_nodes' or 'dst_nodes' names atom {wrong}, but there are {n_atoms} atoms, from 0"
            )

    if "images" in sample:
        images = torch.as_tensor(sample["images"])
    elif not pbc.any():
        images = torch.zeros(n_edges, 3, dtype=dtype)
    else:
        raise ValueError(
            "it is periodic and has edges without 'images'; let PeriodicPropertiesTransform find the edges"
        )
    _check_rows("images", images, (n_edges, 3))
    offsets = torch.as_tensor(sample["offsets"]) if "offsets" in sample else images.to(cell.dtype) @ cell[0]
    _check_rows("offsets", offsets, (n_edges, 3))
    if "distances" in sample:
        distances = torch.as_tensor(sample["distances"])
    else:
        distances = torch.linalg.vector_norm(pos[edge_index[1]] + offsets - pos[edge_index[0]], dim=-1)
    _check_rows("distances", distances, (n_edges,))
    return {
        "atomic_numbers": numbers,
        "pos": pos,
        "edge_index": edge_index,
        "offsets": offsets,
        "images": images,
        "distances": distances,
        "cell": cell,
        "pbc": pbc.reshape(1, 3),
        "natoms": torch.tensor([n_atoms]),
    }


def _check_rows(key: str, tensor: torch.Tensor, shape: tuple[int, ...]) -> None:
    if tensor.shape != shape:
        raise ValueError(
            f"{key!r} has shape {list(tensor.shape)}, expected {list(shape)} for {shape[0]} edges"
        )
