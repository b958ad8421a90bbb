"""A data set whose shards are written wherever there is room: by Dask, Ray, or the jobs of a batch system."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from mml_data.assemble import assemble, shard_name
from mml_data.checks import check_sample
from mml_data.codec import compressor
from mml_data.manifest import MANIFEST_FILE, Manifest
from mml_data.records import encode_record
from mml_data.shard_writer import ShardWriter

__all__ = ["finish_dataset", "write_shard"]


def write_shard(
    directory: str | Path,
    number: int,
    samples: Iterable[Mapping[str, Any]],
    *,
    compression: str | None = None,
) -> int:
    """Write one shard of a data set. Called again with the same samples, it goes on where it was interrupted.

    Shards may be written at the same time, each by one process. `finish_dataset` makes a data set of them.

    Parameters
    ----------
    directory
        Where the data set shall be; it is made where it is not there.
    number
        Which shard, from 0; samples come in the order of shards.
    samples
        The samples of this shard.
    compression
        ``"zstd"``, or None; the same for all shards.

    Returns
    -------
    int
        How many samples the shard has.

    Raises
    ------
    FileExistsError
        Where there is a data set already, whose shards are not to be changed.
    ValueError, TypeError
        Where a sample cannot be stored; what was committed before stays.
    OSError
        Where the shard cannot be written.
    """
    directory = Path(directory)
    if (directory / MANIFEST_FILE).exists():
        raise FileExistsError(f"{str(directory)!r} is a data set already: its shards are not to be changed")
    directory.mkdir(parents=True, exist_ok=True)
    compress = compressor(compression)
    writer = ShardWriter(directory / shard_name(number))
    try:
        for sample in islice(samples, writer.count, None):
            try:
                check_sample(sample)
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
    source: Mapping[str, Any] | None = None,
    splits: Mapping[str, Sequence[int] | np.ndarray] | None = None,
    units: Mapping[str, str] | None = None,
    compression: str | None = None,
) -> Manifest:
    """Make a data set of the shards that `write_shard` has written: read them once, and write the manifest.

    Parameters
    ----------
    directory
        Where the shards are.
    name, source, units
        See `LMDBWriter`.
    splits
        Name of a split to indices.
    compression
        Of the shards.

    Raises
    ------
    FileNotFoundError
        Where there is no such directory.
    FileExistsError
        Where it is a data set already.
    ValueError
        Where there is no sample, a record is damaged, or the splits do not fit.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise FileNotFoundError(f"there is no directory {str(directory)!r} with shards")
    if (directory / MANIFEST_FILE).exists():
        raise FileExistsError(f"{str(directory)!r} is a data set already")
    return assemble(
        directory,
        name=directory.resolve().name if name is None else name,
        source=source or {},
        splits=lambda count: dict(splits or {}),  # type: ignore[arg-type]
        units=units,
        compression=compression,
    )
