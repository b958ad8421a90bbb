"""Write the shards of a data set in independent jobs, for example with Dask, Ray or a batch system."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from mml_data.store.assemble import assemble, shard_name
from mml_data.store.checks import check_storable
from mml_data.store.codec import compressor
from mml_data.store.manifest import MANIFEST_FILE, Manifest
from mml_data.store.records import encode_record
from mml_data.store.shard_writer import ShardWriter

__all__ = ["finish_dataset", "write_shard"]


def write_shard(
    directory: str | Path,
    number: int,
    samples: Iterable[Mapping[str, object]],
    *,
    compression: str | None = None,
) -> int:
    """Write one shard of a data set. If an earlier call was interrupted, continue after its samples.

    Shards may be written at the same time, each by one process. `finish_dataset` then makes a data set of the
    shards. To continue, call this function again with the same samples.

    Parameters
    ----------
    directory
        Directory of the new data set. It is created if it does not exist.
    number
        Number of the shard, from 0. The samples of the data set are in the order of the shards.
    samples
        Samples of this shard.
    compression
        ``"zstd"``, or None. It must be the same for all shards.

    Returns
    -------
    int
        Number of samples in the shard.

    Raises
    ------
    FileExistsError
        If `directory` is already a complete data set, whose shards must not change.
    ValueError, TypeError
        If a sample cannot be stored. Committed samples are kept.
    OSError
        If the shard cannot be written.
    """
    directory = Path(directory)
    if (directory / MANIFEST_FILE).exists():
        raise FileExistsError(f"{str(directory)!r} is already a data set, whose shards must not change")
    directory.mkdir(parents=True, exist_ok=True)
    compress = compressor(compression)
    writer = ShardWriter(directory / shard_name(number))
    try:
        for sample in islice(samples, writer.count, None):
            try:
                check_storable(sample)
                record = compress(encode_record(sample))
            except (TypeError, ValueError) as error:
                raise type(error)(f"sample {writer.count} of shard {number}: {error}") from error
            writer.add(record)
        return writer.close()
    except BaseException:
        writer.abandon()
        raise


def finish_dataset(
    directory: str | Path,
    *,
    name: str | None = None,
    source: Mapping[str, object] | None = None,
    splits: Mapping[str, Sequence[int] | np.ndarray] | None = None,
    units: Mapping[str, str] | None = None,
    compression: str | None = None,
) -> Manifest:
    """Make a data set of the shards written by `write_shard`: read the shards once and write the manifest.

    Parameters
    ----------
    directory
        Directory of the shards.
    name, source, units
        See `LMDBWriter`.
    splits
        Name of a split to the indices of its samples.
    compression
        Compression of the shards, as passed to `write_shard`.

    Raises
    ------
    FileNotFoundError
        If `directory` does not exist.
    FileExistsError
        If `directory` is already a data set.
    ValueError
        If the shards contain no samples, if a record is damaged, or if the splits do not fit the samples.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise FileNotFoundError(
            f"directory {str(directory)!r} does not exist; write shards with write_shard first"
        )
    if (directory / MANIFEST_FILE).exists():
        raise FileExistsError(f"{str(directory)!r} is already a data set")
    return assemble(
        directory,
        name=directory.resolve().name if name is None else name,
        source=source or {},
        splits=lambda count: dict(splits or {}),  # type: ignore[arg-type]
        units=units,
        compression=compression,
    )
