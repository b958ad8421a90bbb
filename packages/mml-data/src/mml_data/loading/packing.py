"""Send a batch from a worker process as a single block of shared memory.

torch sends every tensor of a batch separately, each with a file descriptor over a socket. For a batch of
graphs, which has about 25 tensors, this takes longer than creating the batch. This module copies all tensors
into one block, and pickles the rest of the batch.
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
    """Batch whose tensors are stored in a single block of memory.

    Parameters
    ----------
    block
        Memory of all tensors, [n] uint8.
    rest
        Pickled batch, in which each tensor is replaced by its position in the block.
    """

    def __init__(self, block: torch.Tensor, rest: bytes) -> None:
        self.block = block
        self.rest = rest

    @classmethod
    def of(cls, batch: Any) -> "PackedBatch":
        """Pack a batch into shared memory.

        Tensors that share memory in `batch` also share it after unpacking.
        """
        file = io.BytesIO()
        pickler = _Pickler(file)
        pickler.dump(batch)
        storage = torch.UntypedStorage._new_shared(max(pickler.size, 1), device="cpu")
        block = _bytes(storage)
        for start, part in pickler.storages.values():
            block[start : start + part.nbytes()] = _bytes(part)
        return cls(block, file.getvalue())

    def pin_memory(self) -> "PackedBatch":
        """Pin the memory of the block, and thereby of all tensors in it.

        The data loader calls this method.
        """
        return PackedBatch(self.block.pin_memory(), self.rest)

    def unpack(self) -> Any:
        """Return the batch. Its tensors are views of the block."""
        return _Unpickler(io.BytesIO(self.rest), self.block.untyped_storage()).load()


class PackingCollate:
    """Collate function that packs batches created in a worker process.

    Parameters
    ----------
    collate
        Collate function that creates a batch from a list of samples.
    """

    def __init__(self, collate: Callable[[list[Any]], Any]) -> None:
        self.collate = collate

    def __call__(self, samples: list[Any]) -> Any:
        """Return the batch, packed if this is a worker process and the batch has no DGL graph."""
        batch = self.collate(samples)
        return batch if get_worker_info() is None or _has_foreign_memory(batch) else PackedBatch.of(batch)


def unpacked(batch: Any) -> Any:
    """Return `batch`, unpacked if a worker process has packed it."""
    return batch.unpack() if isinstance(batch, PackedBatch) else batch


def _has_foreign_memory(batch: Any) -> bool:
    """Return whether a batch has a DGL graph, whose memory DGL shares with its own mechanism."""
    return isinstance(batch, dict) and type(batch.get("graph")).__module__.startswith("dgl")


def _bytes(storage: torch.UntypedStorage) -> torch.Tensor:
    return torch.empty(0, dtype=torch.uint8).set_(storage)


class _Pickler(pickle.Pickler):
    """Pickler that leaves out the memory of tensors.

    Attributes
    ----------
    storages
        Key of a storage to its position in the block and the storage.
    size
        Size of the block in bytes.
    """

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self.storages: dict[int, tuple[int, torch.UntypedStorage]] = {}
        self.size = 0

    def persistent_id(self, value: object) -> Any:
        """Return the dtype and the position in the block of a tensor, or None for any other value."""
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
        """Return the tensor at the given position in the block."""
        dtype, offset, shape, stride = where
        return torch.empty(0, dtype=dtype).set_(self._storage, offset, shape, stride)
