"""Collect, complete and check the nodes and edges of a sample for a graph."""

from __future__ import annotations

import numpy as np
import torch
from mml_samples import Array, Sample

from mml_graphs.libraries.graph_data import GraphData
from mml_graphs.sample import read_structure

GRAPH_KEYS = frozenset(
    (
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
)


def is_periodic(sample: Sample) -> bool:
    """Return whether any direction is periodic, from ``pbc`` or, without it, from the presence of a cell."""
    if "pbc" in sample:
        return bool(torch.as_tensor(sample["pbc"]).any())
    if any(key in sample for key in ("cell", "lattice_params", "lattice_features")):
        return True
    lattice = getattr(sample.get("structure"), "lattice", None)
    return lattice is not None and any(lattice.pbc)


def graph_parts(sample: Sample) -> GraphData:
    """Collect the nodes and edges of a sample that has ``src_nodes`` and ``dst_nodes``.

    Missing edge arrays are computed: ``offsets`` from ``images``, and ``distances`` from positions and
    offsets. If ``images`` are missing, they are zero for a sample that is not periodic.

    Parameters
    ----------
    sample
        Sample with edges. It is not changed.

    Returns
    -------
    GraphData
        Parts of the graph: ``atomic_numbers`` [N] and ``pos`` [N, 3] for the nodes; ``offsets`` [E, 3],
        ``images`` [E, 3] and ``distances`` [E] for the edges; ``cell`` [1, 3, 3], ``pbc`` [1, 3] and
        ``natoms`` [1] for the whole graph.

    Raises
    ------
    ValueError
        If keys are missing, or their shapes do not match.
    """
    numbers, pos = sample.get("atomic_numbers"), sample.get("pos")
    cell, pbc = sample.get("cell"), sample.get("pbc")
    if not (
        isinstance(numbers, torch.Tensor)
        and isinstance(pos, torch.Tensor)
        and isinstance(cell, torch.Tensor)
        and isinstance(pbc, torch.Tensor)
    ):
        numbers, pos, cell, pbc = _structure_tensors(sample)
    src, dst = _tensor(sample["src_nodes"]), _tensor(sample["dst_nodes"])
    if src.ndim != 1 or src.shape != dst.shape:
        raise ValueError(
            f"'src_nodes' and 'dst_nodes' must both have shape [E], got {list(src.shape)} "
            f"and {list(dst.shape)}"
        )
    num_atoms, num_edges = numbers.shape[0], src.shape[0]
    if pos.shape != (num_atoms, 3):
        raise ValueError(f"'pos' has shape {list(pos.shape)}, expected [{num_atoms}, 3]")
    if cell.shape != (1, 3, 3):
        cell = cell.reshape(1, 3, 3)
    both = src._base  # sources and destinations are usually the rows of one tensor
    if both is not None and both is dst._base and both.shape == (2, num_edges):
        _check_ends(both, num_atoms)
    else:
        _check_ends(src, num_atoms)
        _check_ends(dst, num_atoms)

    if "images" in sample:
        images = _tensor(sample["images"])
    elif not pbc.any():
        images = torch.zeros(num_edges, 3, dtype=torch.get_default_dtype())
    else:
        raise ValueError(
            "'images' of the edges are missing, and the sample is periodic. "
            "Find the edges with PeriodicPropertiesTransform."
        )
    _check_rows("images", images, (num_edges, 3))
    offsets = _tensor(sample["offsets"]) if "offsets" in sample else images.to(cell.dtype) @ cell[0]
    _check_rows("offsets", offsets, (num_edges, 3))
    if "distances" in sample:
        distances = _tensor(sample["distances"])
    else:
        distances = torch.linalg.vector_norm(pos[dst] + offsets - pos[src], dim=-1)
    _check_rows("distances", distances, (num_edges,))
    return GraphData(
        {"atomic_numbers": numbers, "pos": pos},
        {"offsets": offsets, "images": images, "distances": distances},
        src,
        dst,
        {"cell": cell, "pbc": pbc[None] if pbc.ndim == 1 else pbc, "natoms": _count(num_atoms)},
        num_atoms,
    )


def _tensor(value: Array) -> torch.Tensor:
    return value if isinstance(value, torch.Tensor) else torch.as_tensor(value)


def _structure_tensors(sample: Sample) -> tuple[torch.Tensor, ...]:
    """Return the atomic numbers, positions, cell and pbc of a sample in any of the accepted forms."""
    dtype = torch.get_default_dtype()
    structure = read_structure(sample)
    cell = np.zeros((3, 3)) if structure.cell is None else structure.cell
    return (
        torch.tensor(structure.atomic_numbers),
        torch.tensor(structure.positions, dtype=dtype),
        torch.tensor(cell, dtype=dtype),
        torch.tensor(structure.pbc),
    )


def _check_ends(ends: torch.Tensor, num_atoms: int) -> None:
    if ends.is_cpu:
        array = ends.numpy()
        unsigned = array.view(np.uint64) if array.dtype == np.int64 else array.astype(np.uint64)
        if not array.size or unsigned.max() < num_atoms:  # negative indices become huge as unsigned integers
            return
    elif not ends.numel() or bool(((ends >= 0) & (ends < num_atoms)).all()):
        return
    wrong = int(ends[(ends < 0) | (ends >= num_atoms)][0])
    raise ValueError(
        f"'src_nodes' or 'dst_nodes' contains {wrong}, expected atom indices from 0 to {num_atoms - 1}"
    )


def _count(num_atoms: int) -> torch.Tensor:
    return torch.from_numpy(np.array([num_atoms]))  # takes a third of the time of torch.tensor


def _check_rows(key: str, tensor: torch.Tensor, shape: tuple[int, ...]) -> None:
    if tensor.shape != shape:
        raise ValueError(
            f"{key!r} has shape {list(tensor.shape)}, expected {list(shape)} for {shape[0]} edges"
        )
