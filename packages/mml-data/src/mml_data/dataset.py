"""Read a data set."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from mml_data.codec import decompressor
from mml_data.manifest import Manifest
from mml_data.records import decode_record
from mml_data.shards import Shard, check_shard, open_shard
from mml_data.splits import read_numbers
from mml_data.tensors import read_tensors
from mml_data.transforms import Transform, apply_transforms

__all__ = ["LMDBDataset"]


class LMDBDataset(Dataset[dict[str, Any]]):
    """The samples of a data set directory, as dicts of tensors.

    Integers become int64. Floats under ``targets`` become float64; other floats become torch's default dtype,
    but positions and lattices keep the precision in which they are stored. Numbers under ``targets`` become
    tensors without dimensions. ``sample_id`` is
    ``"<name>/<index>"`` where the stored sample has none. Files are opened in each process when the first
    sample is read, so that a data set may be pickled, forked and sent to workers.

    Parameters
    ----------
    path
        Directory of the data set.
    transforms
        Callables, dict to dict, applied in order when a sample is read.
    split
        Name of a split that is recorded in the data set; only its samples are read.
    indices
        Positions in the whole data set; only those samples are read. Not together with `split`.

    Raises
    ------
    FileNotFoundError
        Where there is nothing at `path`.
    ValueError
        Where `path` is not a data set, has another format version, lacks `split`, or has fewer samples than
        `indices` says.
    """

    def __init__(
        self,
        path: str | Path,
        transforms: Iterable[Transform] = (),
        split: str | None = None,
        indices: Sequence[int] | np.ndarray | None = None,
    ) -> None:
        self.path = Path(path).absolute()
        self.transforms = tuple(transforms)
        self.split = split
        self.manifest = Manifest.read(self.path)
        self._ends = list(accumulate(shard.count for shard in self.manifest.shards))
        self._shards: dict[int, Shard] = {}
        if split is not None and indices is not None:
            raise ValueError(f"give a split ({split!r}) or indices, not both")
        self._indices = self.split_indices(split) if split is not None else self._check_indices(indices)

    @property
    def name(self) -> str:
        """Name of the data set, as its manifest says."""
        return self.manifest.name

    @property
    def splits(self) -> dict[str, int]:
        """Names of the recorded splits, and their sizes."""
        return {name: entry.count for name, entry in self.manifest.splits.items()}

    @property
    def indices(self) -> np.ndarray:
        """Positions in the whole data set of the samples that this one has, [len(self)] int64."""
        return np.arange(self.manifest.num_samples) if self._indices is None else np.asarray(self._indices)

    def split_indices(self, split: str) -> np.ndarray:
        """Return the indices of a recorded split, [n] int64, memory-mapped.

        Raises
        ------
        ValueError
            Where there is no such split, or its file is damaged.
        """
        if split not in self.manifest.splits:
            known = ", ".join(map(repr, self.manifest.splits)) or "none"
            raise ValueError(f"the data set {str(self.path)!r} has no split {split!r}; it has {known}")
        return read_numbers(self.path, self.manifest.splits[split])

    def sizes(self, name: str = "natoms") -> np.ndarray:
        """Return how many atoms (``"natoms"``) or edges (``"nedges"``) each sample has, without reading any.

        Returns
        -------
        numpy.ndarray
            [len(self)] int64.

        Raises
        ------
        ValueError
            Where the data set does not record it.
        """
        entry = self.manifest.sizes.get(name)
        if entry is None:
            known = ", ".join(map(repr, self.manifest.sizes)) or "none"
            raise ValueError(
                f"the data set {str(self.path)!r} does not record {name!r} of its samples, only {known}: "
                "edges are recorded where samples hold them, as precompute() stores them"
            )
        numbers = read_numbers(self.path, entry)
        return np.asarray(numbers) if self._indices is None else np.asarray(numbers[self._indices])

    def __len__(self) -> int:
        return self.manifest.num_samples if self._indices is None else len(self._indices)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return apply_transforms(self.untransformed(index), self.transforms)

    def untransformed(self, index: int) -> dict[str, Any]:
        """Return sample `index` as a dict of tensors, before any transform; raises as `stored` does."""
        return self._read(index, read_tensors)

    def stored(self, index: int) -> dict[str, Any]:
        """Return sample `index` as it is stored, with its ``sample_id``: numpy arrays and Python numbers.

        Raises
        ------
        IndexError
            Where there is no such sample.
        ValueError
            Where its record is damaged; the message names shard and key.
        """
        return self._read(index, decode_record)

    def _read(self, index: int, decode: Callable[[bytes], dict[str, Any]]) -> dict[str, Any]:
        position = range(len(self))[index]
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
        except ValueError as error:
            raise ValueError(f"sample {position}, record {key} of {str(shard.path)!r}: {error}") from error
        if "sample_id" not in sample:
            sample["sample_id"] = f"{self.name}/{position:06d}"
        return sample

    def precompute(
        self,
        transforms: Sequence[Transform],
        path: str | Path,
        *,
        jobs: int = 1,
        resume: bool = False,
        overwrite: bool = False,
        compression: str | None = None,
        progress: bool | Callable[[int], object] = False,
    ) -> "LMDBDataset":
        """Store the samples as they are after this data set's transforms and `transforms`, and open that.

        What is at `path` is used if it was made of the same samples by the same transforms (classes, options
        and versions of their packages), and refused as stale if not.

        Parameters
        ----------
        transforms
            Callables, dict to dict, of classes or functions of a module. What they give must be plain data:
            edges are, graphs are not.
        path
            Directory of the new data set.
        jobs, resume, overwrite, compression, progress
            See `mml_data.convert.import_source`.

        Returns
        -------
        LMDBDataset
            The precomputed samples, without transforms. Its splits are those of this data set, if it has all
            samples.

        Raises
        ------
        ValueError
            Where what is at `path` is stale, it cannot be told what a transform does, or one fails.
        """
        from mml_data.precompute import precompute

        precompute(
            self,
            transforms,
            path,
            jobs=jobs,
            resume=resume,
            overwrite=overwrite,
            compression=compression,
            progress=progress,
        )
        return LMDBDataset(path)

    def verify(self) -> None:
        """Read everything and compare it with the checksums of the manifest.

        Raises
        ------
        FileNotFoundError
            Where a shard is missing.
        ValueError
            Where a shard or a split is damaged; the message names it.
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
        transforms = f", transforms={list(self.transforms)}" if self.transforms else ""
        return f"{type(self).__name__}({str(self.path)!r}{split}{transforms})"

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
                f"indices must be a list of integers, these are {list(checked.shape)} {checked.dtype}"
            )
        if checked.size and not 0 <= checked.min() <= checked.max() < self.manifest.num_samples:
            raise ValueError(
                f"indices must be from 0 to {self.manifest.num_samples - 1} for {str(self.path)!r}, "
                f"these go from {checked.min()} to {checked.max()}"
            )
        return checked.astype(np.int64)
