"""Write a data set atomically: either the complete data set or nothing."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from mml_data.store.assemble import assemble, count_records, shard_name, shards_in
from mml_data.store.checks import check_storable
from mml_data.store.codec import check_compression, compressor
from mml_data.store.publish import PartialDirectory
from mml_data.store.records import encode_record
from mml_data.store.shard_writer import ShardWriter
from mml_data.store.splits import check_splits

__all__ = ["LMDBWriter"]


class LMDBWriter:
    """Context manager that writes samples into a new data set.

    All files are written into a hidden directory beside `path`. This directory replaces `path` when the
    ``with`` block ends without an exception. Until then `path` does not change. The same samples, options and
    name produce the same files, byte for byte.

    Samples are committed in batches. With ``resume=True``, a writer continues after an earlier writer was
    interrupted by an exception or by SIGKILL. ``len(writer)`` is the number of samples that are already
    written::

        with LMDBWriter(path, resume=True) as writer:
            for sample in samples[len(writer):]:
                writer.add(sample)

    Parameters
    ----------
    path
        Directory of the data set.
    name
        Name of the data set, which is the first part of its ``sample_id``. Default: the name of the
        directory.
    source
        Origin of the samples, as JSON-serializable values: ``origin``, ``command``, ``license``, ``notes``.
    units
        Units of keys that the sample contract does not define, e.g. ``{"targets.band_gap": "eV"}``.
    overwrite
        Whether to replace an existing data set at `path`.
    resume
        Whether to keep committed samples if the ``with`` block ends with an exception, and to continue after
        the samples that an interrupted writer left. That writer must have used the same `shard_size` and
        `compression`.
    compression
        ``"zstd"`` compresses each record. ``None`` stores records uncompressed, which is faster to read.
    shard_size
        Maximum number of samples in one file.
    batch_size
        Number of samples in one transaction.

    Raises
    ------
    FileExistsError
        If `path` is a data set and `overwrite` is False, if it is a file, or if it is a directory that
        contains other files.
    BlockingIOError
        If another process is writing to `path`.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        name: str | None = None,
        source: Mapping[str, object] | None = None,
        units: Mapping[str, str] | None = None,
        overwrite: bool = False,
        resume: bool = False,
        compression: str | None = None,
        shard_size: int = 1_000_000,
        batch_size: int = 1024,
    ) -> None:
        for option, value in (("shard_size", shard_size), ("batch_size", batch_size)):
            if value < 1:
                raise ValueError(f"{option} must be at least 1, got {value}")
        self.path = Path(path).resolve()
        self.name = self.path.name if name is None else name
        self.source = json.loads(json.dumps(dict(source or {}), allow_nan=False))
        self.shard_size = shard_size
        self.batch_size = batch_size
        self.units = dict(units or {})
        self.resume = resume
        self.compression = compression
        check_compression(compression)
        self._compress = compressor(compression)
        self._directory = PartialDirectory(self.path, overwrite=overwrite)
        self._splits: dict[str, np.ndarray] = {}
        self._shards = 0
        self._shard: ShardWriter | None = None
        self._count = 0
        self._open = False

    def __len__(self) -> int:
        return self._count

    def __enter__(self) -> Self:
        if self._open or self._count:
            raise RuntimeError("an LMDBWriter can be used only once; create another one")
        self._directory.create(resume=self.resume)
        try:
            self._go_on()
        except BaseException:
            self._directory.release(keep=True)
            raise
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
                if self.resume:
                    self._shard.commit()
                self._shard.abandon()
            self._directory.release(keep=self.resume)

    def add(self, sample: Mapping[str, object]) -> None:
        """Append a sample.

        Raises
        ------
        ValueError, TypeError
            If the sample cannot be stored (see `mml_data.store.checks.check_storable` and
            `mml_data.store.records.encode_record`). The message names the sample.
        RuntimeError
            If the method is called outside the ``with`` block.
        """
        if not self._open:
            raise RuntimeError("samples can be added only inside the `with` block of the LMDBWriter")
        try:
            check_storable(sample)
            record = self._compress(encode_record(sample))
        except (TypeError, ValueError) as error:
            given = sample.get("sample_id") if isinstance(sample, Mapping) else None
            which = f"sample {self._count}" + (f" ({given})" if given is not None else "")
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"{which} cannot be stored in {str(self.path)!r}: {error}") from error
        if self._shard is None:
            self._shard = ShardWriter(self._directory.path / shard_name(self._shards), self.batch_size)
        self._shard.add(record)
        self._count += 1
        if self._shard.count == self.shard_size:
            self._close_shard()

    def set_splits(self, splits: Mapping[str, Sequence[int] | np.ndarray]) -> None:
        """Record disjoint splits as a mapping of name to sample indices. They need not cover all samples.

        Raises
        ------
        ValueError
            If a split is empty, has a name that is not a valid file name, contains an index twice, or shares
            an index with another split. Indices beyond the last sample raise an error only when the ``with``
            block ends.
        """
        self._splits = check_splits(splits)

    def _go_on(self) -> None:
        """Find the samples that an interrupted writer left, and open its last shard."""
        shards = shards_in(self._directory.path)
        counts = count_records(shards)
        if any(count != self.shard_size for count in counts[:-1]) or (
            counts and counts[-1] > self.shard_size
        ):
            raise ValueError(
                f"the interrupted writer of {str(self.path)!r} left shards of {counts} samples, which do "
                f"not fit shard_size={self.shard_size}; resume with the same shard_size, or start again "
                "with resume=False"
            )
        self._count, self._shards = sum(counts), len(shards)
        if counts and counts[-1] < self.shard_size:
            self._shards -= 1
            self._shard = ShardWriter(shards[-1], self.batch_size)

    def _close_shard(self) -> None:
        if self._shard is not None:
            self._shard.close()
            self._shard = None
            self._shards += 1

    def _finish(self) -> None:
        self._close_shard()
        directory = self._directory.path
        try:
            assemble(
                directory,
                name=self.name,
                source=self.source,
                splits=lambda count: self._splits,
                units=self.units,
                compression=self.compression,
            )
        except ValueError as error:
            raise ValueError(f"{error}; {str(self.path)!r} is not written") from error
