"""Write a data set: all of it, or nothing."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import lmdb
import numpy as np

from mml_data.checks import check_sample
from mml_data.manifest import FileEntry, Manifest
from mml_data.publish import PartialDirectory
from mml_data.records import decode_record, encode_record
from mml_data.schema import SchemaBuilder
from mml_data.shards import open_shard, record_key, update_checksum
from mml_data.splits import check_splits, write_split
from mml_data.statistics import DatasetStatistics

__all__ = ["LMDBWriter"]

_FIRST_MAP_SIZE = 1 << 20


class LMDBWriter:
    """Write samples into a new data set; a context manager.

    Everything is written into a hidden directory beside `path`, which takes the place of `path` when the
    ``with`` block ends without an exception. Before that `path` is not touched. The same samples, options
    and name give the same files, byte for byte.

    Parameters
    ----------
    path
        Directory of the data set.
    name
        Name of the data set, the first part of its ``sample_id``; default: the directory's name.
    source
        Where the samples come from, fit for JSON: ``origin``, ``command``, ``license``, ``notes``.
    units
        Units of keys that the sample contract does not fix, e.g. ``{"targets.band_gap": "eV"}``.
    overwrite
        Replace the data set that is at `path`.
    shard_size
        Most samples in one file.
    batch_size
        Samples in one transaction.

    Raises
    ------
    FileExistsError
        Where there is something at `path`: a data set and `overwrite` is not said, or anything else.
    BlockingIOError
        Where another process is writing to `path`.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        name: str | None = None,
        source: Mapping[str, Any] | None = None,
        units: Mapping[str, str] | None = None,
        overwrite: bool = False,
        shard_size: int = 1_000_000,
        batch_size: int = 1024,
    ) -> None:
        for option, value in (("shard_size", shard_size), ("batch_size", batch_size)):
            if value < 1:
                raise ValueError(f"{option} must be at least 1, it is {value}")
        self.path = Path(path).resolve()
        self.name = self.path.name if name is None else name
        self.source = json.loads(json.dumps(dict(source or {}), allow_nan=False))
        self.shard_size = shard_size
        self.batch_size = batch_size
        self._schema = SchemaBuilder(units)
        self._directory = PartialDirectory(self.path, overwrite=overwrite)
        self._splits: dict[str, np.ndarray] = {}
        self._shards: list[FileEntry] = []
        self._shard: _ShardWriter | None = None
        self._count = 0
        self._open = False

    def __len__(self) -> int:
        return self._count

    def __enter__(self) -> Self:
        if self._count or self._shards:
            raise RuntimeError("an LMDBWriter writes once: make another one")
        self._directory.create()
        self._open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open = False
        try:
            if error is None:
                self._finish()
                self._directory.publish()
        finally:
            if self._shard is not None:
                self._shard.abandon()
            self._directory.remove()

    def add(self, sample: Mapping[str, Any]) -> None:
        """Append a sample.

        Raises
        ------
        ValueError, TypeError
            Where the sample is not one that can be stored (see `mml_data.checks.check_sample` and
            `mml_data.records.encode_record`); the message names it.
        RuntimeError
            Outside the ``with`` block.
        """
        if not self._open:
            raise RuntimeError("samples are added inside the `with` block of the LMDBWriter")
        try:
            natoms = check_sample(sample)
            record = encode_record(sample)
        except (TypeError, ValueError) as error:
            given = sample.get("sample_id") if isinstance(sample, Mapping) else None
            which = f"sample {self._count}" + (f" ({given})" if given is not None else "")
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"{which} cannot be stored in {str(self.path)!r}: {error}") from error
        if self._shard is None:
            self._shard = _ShardWriter(
                self._directory.path / f"shard-{len(self._shards):05d}.lmdb", self.batch_size
            )
        self._schema.add(decode_record(record), natoms)
        self._count += 1
        self._shard.add(record)
        if self._shard.count == self.shard_size:
            self._close_shard()

    def set_splits(self, splits: Mapping[str, Sequence[int] | np.ndarray]) -> None:
        """Record disjoint splits of the samples, name to indices; they need not cover everything.

        Raises
        ------
        ValueError
            Where a split is empty, has a name that cannot be a file's, or shares an index with another or
            with itself. (Indices beyond the last sample are found at the end.)
        """
        self._splits = check_splits(splits)

    def _close_shard(self) -> None:
        if self._shard is not None:
            self._shards.append(self._shard.close())
            self._shard = None

    def _finish(self) -> None:
        if self._count == 0:
            raise ValueError(f"no sample was added: there is nothing to write to {str(self.path)!r}")
        for name, indices in self._splits.items():
            if (last := int(indices.max())) >= self._count:
                raise ValueError(f"split {name!r} has the index {last}, but there are {self._count} samples")
        self._close_shard()
        directory = self._directory.path
        splits = {name: write_split(directory, name, indices) for name, indices in self._splits.items()}
        Manifest(
            name=self.name,
            num_samples=self._count,
            shards=self._shards,
            schema=self._schema.result(),
            splits=splits,
            statistics=self._statistics(),
            source=self.source,
        ).write(directory)

    def _statistics(self) -> dict[str, dict[str, Any]]:
        statistics = {name: DatasetStatistics() for name in ("all", *self._splits)}
        member = np.full(self._count, "all", dtype=object)
        for name, indices in self._splits.items():
            member[indices] = name
        index = 0
        for entry in self._shards:
            for _, record in open_shard(self._directory.path / entry.file).records():
                sample = decode_record(record)
                for name in {"all", member[index]}:
                    statistics[name].add(sample)
                index += 1
        return {name: each.result() for name, each in statistics.items()}


class _ShardWriter:
    """One LMDB file while it is written: batches of records in transactions, in a map that doubles."""

    def __init__(self, path: Path, batch_size: int) -> None:
        self.path = path
        self.count = 0
        self._batch_size = batch_size
        self._waiting: list[bytes] = []
        self._checksum = hashlib.sha256()
        self._map_size = _FIRST_MAP_SIZE
        # No lock file: nobody else knows of this directory. Synced once, when the shard is closed.
        self._environment = lmdb.open(
            str(path), subdir=False, lock=False, sync=False, map_size=self._map_size
        )

    def add(self, record: bytes) -> None:
        self._waiting.append(record)
        update_checksum(self._checksum, record)
        self.count += 1
        if len(self._waiting) >= self._batch_size:
            self._flush()

    def close(self) -> FileEntry:
        self._flush()
        self._environment.sync(True)
        self._environment.close()
        return FileEntry(self.path.name, self.count, self._checksum.hexdigest())

    def abandon(self) -> None:
        self._environment.close()

    def _flush(self) -> None:
        start = self.count - len(self._waiting)
        while True:
            try:
                with self._environment.begin(write=True) as transaction:
                    for index, record in enumerate(self._waiting, start):
                        transaction.put(record_key(index), record, append=True)
                break
            except lmdb.MapFullError:
                self._map_size *= 2
                self._environment.set_mapsize(self._map_size)
            except lmdb.Error as error:
                raise OSError(f"cannot write to {str(self.path)!r}: {error}; nothing was changed") from error
        self._waiting = []
