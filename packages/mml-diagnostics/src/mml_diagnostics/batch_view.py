"""A view of a batch for the checks: plain CPU tensors, and names of the structures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class BatchView:
    """The parts of a batch that the checks use; ``None`` if the batch does not have a part.

    N atoms, E directed edges, B structures. All tensors are on the CPU, and floats are float64.

    Parameters
    ----------
    pos
        Cartesian positions, [N, 3], in angstrom.
    structure_of
        Index of the structure of each atom, [N] int64.
    num_structures
        Number of structures, B.
    atomic_numbers
        Atomic numbers, [N] int64.
    edge_index
        Source and destination atom of each edge, [2, E] int64.
    offsets
        Lattice translation of each edge, [E, 3], in angstrom.
    cell
        Lattice vectors as rows, [B, 3, 3], in angstrom.
    pbc
        Periodic boundary conditions, [B, 3] bool.
    sample_ids
        Names of the B structures.
    """

    pos: Tensor
    structure_of: Tensor
    num_structures: int
    atomic_numbers: Tensor | None = None
    edge_index: Tensor | None = None
    offsets: Tensor | None = None
    cell: Tensor | None = None
    pbc: Tensor | None = None
    sample_ids: Sequence[str] | None = None

    def name(self, structure: int) -> str:
        """Return the name of a structure: its sample id, or its index in the batch."""
        return name_sample(self.sample_ids, structure)

    @property
    def atom_counts(self) -> Tensor:
        """Number of atoms of each structure, [B] int64."""
        return torch.bincount(self.structure_of, minlength=self.num_structures)


def name_sample(sample_ids: Sequence[str] | None, index: int) -> str:
    """Return ``"sample '<id>'"``, or ``"structure <index> of the batch"`` if the sample has no id."""
    if sample_ids is not None and index < len(sample_ids):
        return f"sample {sample_ids[index]!r}"
    return f"structure {index} of the batch"


def sample_ids_of(batch: object) -> list[str] | None:
    """Return the ``sample_id`` of the batch as a list of strings, or None if the batch has none."""
    ids = look_up(batch, "sample_id")
    if isinstance(ids, str):
        return [ids]
    return [str(name) for name in ids] if isinstance(ids, list | tuple) else None


def look_up(batch: object, *keys: str) -> Any:
    """Return the first of ``keys`` that is found in the batch's graph or in the batch, or None."""
    graph = batch.get("graph") if isinstance(batch, Mapping) else batch
    for key in keys:
        for holder in (graph, batch):
            value = holder.get(key) if isinstance(holder, Mapping) else getattr(holder, key, None)
            if value is not None:
                return value
    return None


def count_sizes(batch: object) -> tuple[int | None, int | None, int | None]:
    """Count structures, atoms and edges from shapes alone, without reading from a device.

    Returns
    -------
    tuple
        The three counts; ``None`` for an unknown count. Without graph keys, the number of structures is the
        number of ``sample_id`` entries or the leading dimension of the first tensor.
    """
    pos, edges = look_up(batch, "pos"), look_up(batch, "edge_index", "src_nodes")
    structures = None
    if (natoms := look_up(batch, "natoms")) is not None and isinstance(natoms, Tensor):
        structures = natoms.numel()
    elif isinstance(ptr := look_up(batch, "ptr"), Tensor):
        structures = len(ptr) - 1
    elif (ids := sample_ids_of(batch)) is not None:
        structures = len(ids)
    elif not isinstance(pos, Tensor):
        structures = _leading_dimension(batch)
    return (
        structures,
        pos.shape[0] if isinstance(pos, Tensor) and pos.ndim == 2 else None,
        edges.shape[-1] if isinstance(edges, Tensor) else None,
    )


def view_batch(batch: object) -> BatchView | None:
    """Return a view of the batch on the CPU, or None if the batch has no [N, 3] positions.

    Parameters
    ----------
    batch
        A mapping with a PyG graph under ``graph``, a PyG graph, or a mapping with the same keys.
    """
    pos = _tensor(look_up(batch, "pos"), torch.float64)
    if pos is None or pos.ndim != 2 or pos.shape[1] != 3:
        return None
    structure_of = _structure_of(batch, len(pos))
    natoms = look_up(batch, "natoms")
    num_structures = int(structure_of.max()) + 1 if len(pos) else 0
    if isinstance(natoms, Tensor):
        num_structures = max(num_structures, natoms.numel())
    cell = _tensor(look_up(batch, "cell"), torch.float64)
    pbc = _tensor(look_up(batch, "pbc"), torch.bool)
    return BatchView(
        pos=pos,
        structure_of=structure_of,
        num_structures=num_structures,
        atomic_numbers=_sized(_tensor(look_up(batch, "atomic_numbers", "z"), torch.int64), (len(pos),)),
        edge_index=_edge_index(batch),
        offsets=_tensor(look_up(batch, "offsets"), torch.float64),
        cell=None if cell is None else _sized(cell.reshape(-1, 3, 3), (num_structures, 3, 3)),
        pbc=None if pbc is None else _sized(pbc.reshape(-1, 3), (num_structures, 3)),
        sample_ids=sample_ids_of(batch),
    )


def _tensor(value: object, dtype: torch.dtype) -> Tensor | None:
    return value.detach().to("cpu", dtype) if isinstance(value, Tensor) else None


def _sized(value: Tensor | None, shape: tuple[int, ...]) -> Tensor | None:
    return value if value is not None and value.shape == shape else None


def _edge_index(batch: object) -> Tensor | None:
    edges = _tensor(look_up(batch, "edge_index"), torch.int64)
    if edges is None:
        src, dst = (_tensor(look_up(batch, key), torch.int64) for key in ("src_nodes", "dst_nodes"))
        edges = None if src is None or dst is None else torch.stack((src, dst))
    return edges


def _structure_of(batch: object, num_atoms: int) -> Tensor:
    structure_of = _sized(_tensor(look_up(batch, "batch"), torch.int64), (num_atoms,))
    if structure_of is not None:
        return structure_of
    natoms = _tensor(look_up(batch, "natoms"), torch.int64)
    if natoms is not None and int(natoms.sum()) == num_atoms:
        return torch.repeat_interleave(torch.arange(natoms.numel()), natoms.reshape(-1))
    return torch.zeros(num_atoms, dtype=torch.int64)


def _leading_dimension(batch: object) -> int | None:
    if isinstance(batch, Tensor):
        return batch.shape[0] if batch.ndim else None
    parts = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, list | tuple) else ()
    return next((size for part in parts if (size := _leading_dimension(part)) is not None), None)
