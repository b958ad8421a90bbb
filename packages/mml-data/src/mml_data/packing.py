"""Send a batch from a worker as one piece of shared memory.

torch sends every tensor of a batch by itself, each with a file descriptor over a socket: for a batch of
graphs, which has some 25 tensors, that takes longer than making it. Here all tensors are copied into one
block, and the rest of the batch is pickled beside it.
"""

import io
import pickle
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.data import get_worker_info

__all__ = ["PackedBatch", "PackingCollate", "unpacked"]

_ALIGNMENT = 64


class PackedBatch:
    """A batch in one block.

    Parameters
    ----------
    block
        The memory of all tensors, [n] uint8.
    rest
        The pickled batch; for a tensor it holds where in the block it is.
    """

    def __init__(self, block: torch.Tensor, rest: bytes) -> None:
        self.block = block
        self.rest = rest

    @classmethod
    def of(cls, batch: Any) -> "PackedBatch":
        """Pack a batch, into shared memory; tensors that share memory do so afterwards."""
        file = io.BytesIO()
        pickler = _Pickler(file)
        pickler.dump(batch)
        storage = torch.UntypedStorage._new_shared(max(pickler.size, 1), device="cpu")
        block = _bytes(storage)
        for start, part in pickler.storages.values():
            block[start : start + part.nbytes()] = _bytes(part)
        return cls(block, file.getvalue())

    def pin_memory(self) -> "PackedBatch":
        """Pin the block, and so the tensors that are made of it; a loader calls this."""
        return PackedBatch(self.block.pin_memory(), self.rest)

    def unpack(self) -> Any:
        """Return the batch, whose tensors are parts of the block."""
        return _Unpickler(io.BytesIO(self.rest), self.block.untyped_storage()).load()


class PackingCollate:
    """Makes batches with `collate`, and packs those that a worker has to send.

    Parameters
    ----------
    collate
        Makes a batch of a list of samples.
    """

    def __init__(self, collate: Callable[[list[Any]], Any]) -> None:
        self.collate = collate

    def __call__(self, samples: list[Any]) -> Any:
        """Return the batch, or the packed one."""
        batch = self.collate(samples)
        return batch if get_worker_info() is None or _has_foreign_memory(batch) else PackedBatch.of(batch)


def unpacked(batch: Any) -> Any:
    """Return a batch that a worker may have packed."""
    return batch.unpack() if isinstance(batch, PackedBatch) else batch


def _has_foreign_memory(batch: Any) -> bool:
    """Whether a batch has a DGL graph, which shares its memory in a way of its own."""
    return isinstance(batch, dict) and type(batch.get("graph")).__module__.startswith("dgl")


def _bytes(storage: torch.UntypedStorage) -> torch.Tensor:
    return torch.empty(0, dtype=torch.uint8).set_(storage)


class _Pickler(pickle.Pickler):
    """Leaves out the memory of tensors: `storages` says where it goes in the block, which is `size` long."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self.storages: dict[int, tuple[int, torch.UntypedStorage]] = {}
        self.size = 0

    def persistent_id(self, value: Any) -> Any:
        """Say where a tensor is, or None for anything else."""
        if type(value) is not torch.Tensor or value.layout != torch.strided or value.requires_grad:
            return None
        storage = value.untyped_storage()
        start, _ = self.storages.get(storage._cdata, (None, None))
        if start is None:
            start = self.size
            self.storages[storage._cdata] = start, storage
            self.size += storage.nbytes() + -storage.nbytes() % _ALIGNMENT
        offset = start + value.storage_offset() * value.element_size()
        return value.dtype, offset // value.element_size(), tuple(value.shape), value.stride()


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, storage: torch.UntypedStorage) -> None:
        super().__init__(file)
        self._storage = storage

    def persistent_load(self, where: Any) -> torch.Tensor:
        """Return the tensor that is there."""
        dtype, offset, shape, stride = where
        return torch.empty(0, dtype=dtype).set_(self._storage, offset, shape, stride)
