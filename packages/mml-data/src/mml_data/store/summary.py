"""Summarize a shard for the manifest in one pass over its records."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mml_data.store.brief import read_brief
from mml_data.store.codec import decompressor
from mml_data.store.manifest import FileEntry
from mml_data.store.packs import Record, unpack_records
from mml_data.store.records import decode_record
from mml_data.store.schema import SchemaBuilder
from mml_data.store.shards import Shard, open_shard, update_checksum
from mml_data.store.splits import read_numbers
from mml_data.store.statistics import DatasetStatistics

__all__ = ["EVERYTHING", "ShardSummary", "edge_count", "summarize_shard"]

EVERYTHING = "all"
"""Key of the statistics of all samples."""


@dataclass
class ShardSummary:
    """Manifest entry, schema, statistics by split, and sizes of one shard."""

    entry: FileEntry
    schema: SchemaBuilder
    statistics: dict[str, DatasetStatistics]
    num_atoms: np.ndarray
    num_edges: np.ndarray | None


def edge_count(sample: Mapping[str, object]) -> int | None:
    """Return the number of edges of a sample, or None if it has no edges."""
    for key in ("src_nodes", "distances"):
        if key in sample:
            return len(np.asarray(sample[key]))
    return None


def summarize_shard(
    path: Path,
    *,
    compression: str | None = None,
    splits: Mapping[str, FileEntry] | None = None,
    start: int = 0,
    units: Mapping[str, str] | None = None,
) -> ShardSummary:
    """Read a shard once and summarize it.

    Parameters
    ----------
    path
        File of the shard.
    compression
        Compression of the records.
    splits
        Name of a split to its file, which is in the directory of the shard.
    start
        Index of the first record of the shard in the whole data set.
    units
        Units of further keys, for the schema.

    Raises
    ------
    ValueError
        If a record is damaged. The message names the record.
    """
    shard = open_shard(path)
    count = shard.count
    indices = [read_numbers(path.parent, entry) for entry in (splits or {}).values()]
    member = _membership(indices, start, count)
    names = [*(splits or {}), None]
    parts: dict[str | None, DatasetStatistics] = {name: DatasetStatistics() for name in names}
    checksum, schema, read = hashlib.sha256(), SchemaBuilder(units), decompressor(compression)
    num_atoms = np.zeros(count, dtype=np.int64)
    num_edges: list[int | None] = []
    for index, record in enumerate(_records(shard, checksum)):
        try:
            record = read(record)
            brief = read_brief(record)
            if brief is not None and schema.repeat(brief.form):
                num_atoms[index], edges, sample = brief[1:]
            else:
                sample = decode_record(record)
                num_atoms[index], edges = len(sample["atomic_numbers"]), edge_count(sample)
                form = None if brief is None else brief.form
                schema.add(sample, int(num_atoms[index]), start + index, form)
        except (ValueError, KeyError) as error:
            raise ValueError(f"record {index} of {str(path)!r} is damaged: {error}") from error
        num_edges.append(edges)
        parts[names[member[index]]].add(sample)
    everything = DatasetStatistics()
    for part in parts.values():
        everything.merge(part)
    statistics = {EVERYTHING: everything} | {name: parts[name] for name in splits or {}}
    return ShardSummary(
        FileEntry(path.name, count, checksum.hexdigest()),
        schema,
        statistics,
        num_atoms,
        None if None in num_edges else np.array(num_edges, dtype=np.int64),
    )


def _records(shard: Shard, checksum: Any) -> Iterator[Record]:
    """Yield the records of a shard, and update its checksum."""
    for _, pack in shard.packs():
        update_checksum(checksum, pack)
        yield from unpack_records(pack)


def _membership(splits: Sequence[np.ndarray], start: int, count: int) -> np.ndarray:
    """Return the number of each record's split, or -1 for a record without a split, [count]."""
    member = np.full(count, -1)
    for number, indices in enumerate(splits):
        here = np.asarray(indices) - start
        member[here[(here >= 0) & (here < count)]] = number
    return member
