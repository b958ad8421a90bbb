"""Read a data set from disk as it is stored, without torch."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, cast

import numpy as np
from mml_samples import Sample

from mml_data.store.codec import decompressor
from mml_data.store.complete import Convert, completion
from mml_data.store.manifest import Manifest
from mml_data.store.packs import Record
from mml_data.store.records import decode_sample
from mml_data.store.shards import Shard, check_shard, open_shard
from mml_data.store.splits import read_numbers

__all__ = ["StoredDataset"]


class StoredDataset:
    """Data set that reads samples from a directory of LMDB shards and returns them in numpy arrays.

    `mml_data.LMDBDataset` adds tensors and transforms.

    Each process opens the files when it reads its first sample. A data set can therefore be pickled, forked
    and sent to worker processes.

    Parameters
    ----------
    path
        Directory of the data set.
    split
        Name of a recorded split. Only the samples of this split are read.
    indices
        Indices into the whole data set. Only these samples are read. Mutually exclusive with `split`.

    Raises
    ------
    FileNotFoundError
        If `path` does not exist.
    ValueError
        If `path` is not a data set, has another format version or does not have the split `split`, if an
        index is out of range, or if both `split` and `indices` are given.
    """

    def __init__(
        self,
        path: str | Path,
        split: str | None = None,
        indices: Sequence[int] | np.ndarray | None = None,
    ) -> None:
        self.path = Path(path).absolute()
        self.split = split
        self.manifest = Manifest.read(self.path)
        self._completion = completion(self.manifest.schema, self.manifest.num_samples)
        self._ends = list(accumulate(shard.count for shard in self.manifest.shards))
        self._shards: dict[int, Shard] = {}
        if split is not None and indices is not None:
            raise ValueError(
                f"split and indices are mutually exclusive, got split={split!r} and indices; pass one of them"
            )
        self._indices = self.split_indices(split) if split is not None else self._check_indices(indices)

    @property
    def name(self) -> str:
        """Name of the data set, as recorded in its manifest."""
        return self.manifest.name

    @property
    def splits(self) -> dict[str, int]:
        """Names and sizes (number of samples) of the recorded splits."""
        return {name: entry.count for name, entry in self.manifest.splits.items()}

    @property
    def indices(self) -> np.ndarray:
        """Indices of the samples of this object in the whole data set, [len(self)] int64."""
        return np.arange(self.manifest.num_samples) if self._indices is None else np.asarray(self._indices)

    def split_indices(self, split: str) -> np.ndarray:
        """Return the sample indices of a recorded split, [n] int64, as a memory-mapped array.

        Raises
        ------
        ValueError
            If the data set does not have this split, or if the file of the split is damaged.
        """
        if split not in self.manifest.splits:
            known = ", ".join(map(repr, self.manifest.splits)) or "none"
            raise ValueError(f"data set {str(self.path)!r} has no split {split!r}; its splits are: {known}")
        return read_numbers(self.path, self.manifest.splits[split])

    def sizes(self, name: str = "natoms") -> np.ndarray:
        """Return the number of atoms (``"natoms"``) or edges (``"nedges"``) of each sample.

        The samples are not read: the sizes are stored beside them.

        Returns
        -------
        numpy.ndarray
            Sizes, [len(self)] int64.

        Raises
        ------
        ValueError
            If the data set does not record this size.
        """
        entry = self.manifest.sizes.get(name)
        if entry is None:
            known = ", ".join(map(repr, self.manifest.sizes)) or "none"
            raise ValueError(
                f"data set {str(self.path)!r} does not record {name!r} of its samples, only: {known}; "
                "'nedges' is recorded if the samples have edges, so store them with precompute()"
            )
        numbers = read_numbers(self.path, entry)
        return np.asarray(numbers) if self._indices is None else np.asarray(numbers[self._indices])

    def __len__(self) -> int:
        return self.manifest.num_samples if self._indices is None else len(self._indices)

    def stored(self, index: int) -> Sample:
        """Return sample `index` as stored, in numpy arrays and Python numbers, and with its ``sample_id``.

        Labels that the structure lacks, but other structures of the data set have, are NaN.

        Raises
        ------
        IndexError
            If `index` is out of range.
        ValueError
            If the record is damaged. The message names the shard and the key.
        """
        return self._read(index, decode_sample, _unchanged)

    def _read(self, index: int, decode: Callable[[Record], Sample], convert: Convert) -> Sample:
        count = len(self)
        position = int(index) + count if index < 0 else int(index)
        if not 0 <= position < count:
            raise IndexError(f"index {index} is out of range for {count} samples of {str(self.path)!r}")
        if self._indices is not None:
            position = int(self._indices[position])
        number = bisect_right(self._ends, position)
        shard = self._shard(number)
        key = position - (self._ends[number - 1] if number else 0)
        try:
            record = shard.get(key)
            if self.manifest.compression is not None:
                record = decompressor(self.manifest.compression)(record)
            sample = decode(record)
            if self._completion is not None:
                self._completion(cast("dict[str, Any]", sample), convert)
        except ValueError as error:
            raise ValueError(f"sample {position}, record {key} of {str(shard.path)!r}: {error}") from error
        if "sample_id" not in sample:
            sample["sample_id"] = f"{self.name}/{position:06d}"
        return sample

    def verify(self) -> None:
        """Read all files and compare them with the checksums in the manifest.

        Raises
        ------
        FileNotFoundError
            If a shard is missing.
        ValueError
            If a shard or the file of a split is damaged. The message names the file.
        """
        for entry in self.manifest.shards:
            check_shard(self.path / entry.file, entry.count, entry.sha256)
        for entry in (*self.manifest.splits.values(), *self.manifest.sizes.values()):
            read_numbers(self.path, entry, check=True)

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__ | {"_shards": {}}
        return state if self.split is None else state | {"_indices": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self.split is not None:
            self._indices = self.split_indices(self.split)

    def __repr__(self) -> str:
        split = "" if self.split is None else f", split={self.split!r}"
        return f"{type(self).__name__}({str(self.path)!r}{split})"

    def _shard(self, number: int) -> Shard:
        shard = self._shards.get(number)
        if shard is None or not shard.is_ours():
            shard = self._shards[number] = open_shard(self.path / self.manifest.shards[number].file)
        return shard

    def _check_indices(self, indices: Sequence[int] | np.ndarray | None) -> np.ndarray | None:
        if indices is None:
            return None
        checked = np.asarray(indices)
        if checked.ndim != 1 or (checked.size and checked.dtype.kind not in "iu"):
            raise ValueError(
                f"indices must be a list of integers, got {checked.dtype} of shape {list(checked.shape)}"
            )
        if checked.size and not 0 <= checked.min() <= checked.max() < self.manifest.num_samples:
            raise ValueError(
                f"indices must be from 0 to {self.manifest.num_samples - 1} for {str(self.path)!r}, "
                f"got {checked.min()} to {checked.max()}"
            )
        return checked.astype(np.int64)


def _unchanged(value: Any, is_target: bool) -> Any:
    return value
