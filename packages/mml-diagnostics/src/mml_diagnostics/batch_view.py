"""A batch as the checks see it: plain tensors on the CPU, and names for its structures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class BatchView:
    """The parts of a batch that checks look at; None where the batch does not have them.

    N atoms, E directed edges, B structures; everything on the CPU, floats in float64.

    Parameters
    ----------
    pos
        [N, 3] Cartesian positions, angstrom.
    structure_of
        [N] int64, the structure that each atom belongs to.
    num_structures
        B.
    atomic_numbers
        [N] int64.
    edge_index
        [2, E] int64.
    offsets
        [E, 3] lattice translation of each edge, angstrom.
    cell
        [B, 3, 3] rows are lattice vectors, angstrom.
    pbc
        [B, 3] bool.
    sample_ids
        B names.
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
        """Name a structure by its sample id, or by its place in the batch."""
        return name_sample(self.sample_ids, structure)

    @property
    def atom_counts(self) -> Tensor:
        """[B] int64, the number of atoms of each structure."""
        return torch.bincount(self.structure_of, minlength=self.num_structures)


def name_sample(sample_ids: Sequence[str] | None, index: int) -> str:
    """Return ``"sample <id>"``, or ``"structure <index> of the batch"`` where there are no ids."""
    if sample_ids is not None and index < len(sample_ids):
        return f"sample {sample_ids[index]}"
    return f"structure {index} of the batch"


def sample_ids_of(batch: Any) -> list[str] | None:
    """Return the batch's ``sample_id`` as a list of strings, None where it has none."""
    ids = look_up(batch, "sample_id")
    if isinstance(ids, str):
        return [ids]
    return [str(name) for name in ids] if isinstance(ids, list | tuple) else None


def look_up(batch: Any, *keys: str) -> Any:
    """Return the first of ``keys`` that the batch's graph, or else the batch itself, has; else None."""
    graph = batch.get("graph") if isinstance(batch, Mapping) else batch
    for key in keys:
        for holder in (graph, batch):
            value = holder.get(key) if isinstance(holder, Mapping) else getattr(holder, key, None)
            if value is not None:
                return value
    return None


def count_sizes(batch: Any) -> tuple[int | None, int | None, int | None]:
    """Count structures, atoms and edges from shapes alone: nothing is read from a device.

    Returns
    -------
    tuple
        The three counts; None for what the batch does not tell. A batch that is no graph counts its
        ``sample_id``, or the leading dimension of its first tensor, as structures.
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


def view_batch(batch: Any) -> BatchView | None:
    """Bring the batch's structures to the CPU; None where it holds no [N, 3] positions.

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


def _tensor(value: Any, dtype: torch.dtype) -> Tensor | None:
    return value.detach().to("cpu", dtype) if isinstance(value, Tensor) else None


def _sized(value: Tensor | None, shape: tuple[int, ...]) -> Tensor | None:
    return value if value is not None and value.shape == shape else None


def _edge_index(batch: Any) -> Tensor | None:
    edges = _tensor(look_up(batch, "edge_index"), torch.int64)
    if edges is None:
        src, dst = (_tensor(look_up(batch, key), torch.int64) for key in ("src_nodes", "dst_nodes"))
        edges = None if src is None or dst is None else torch.stack((src, dst))
    return edges


def _structure_of(batch: Any, num_atoms: int) -> Tensor:
    structure_of = _sized(_tensor(look_up(batch, "batch"), torch.int64), (num_atoms,))
    if structure_of is not None:
        return structure_of
    natoms = _tensor(look_up(batch, "natoms"), torch.int64)
    if natoms is not None and int(natoms.sum()) == num_atoms:
        return torch.repeat_interleave(torch.arange(natoms.numel()), natoms.reshape(-1))
    return torch.zeros(num_atoms, dtype=torch.int64)


def _leading_dimension(batch: Any) -> int | None:
    if isinstance(batch, Tensor):
        return batch.shape[0] if batch.ndim else None
    parts = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, list | tuple) else ()
    return next((size for part in parts if (size := _leading_dimension(part)) is not None), None)
