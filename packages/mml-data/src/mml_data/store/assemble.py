"""Assemble the shards in a directory into a data set: check splits, summarize shards, write the manifest."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path

import numpy as np

from mml_data.store.codec import decompressor
from mml_data.store.manifest import MANIFEST_FILE, Manifest
from mml_data.store.records import decode_record
from mml_data.store.schema import SchemaBuilder
from mml_data.store.shards import open_shard
from mml_data.store.splits import check_splits, write_numbers, write_split
from mml_data.store.statistics import DatasetStatistics
from mml_data.store.summary import EVERYTHING, ShardSummary, summarize_shard

__all__ = ["Splits", "assemble", "count_records", "shard_name", "shards_in"]

Splits = Mapping[str, np.ndarray]
Summarize = Callable[[Sequence[Callable[[], ShardSummary]]], Iterable[ShardSummary]]


def shard_name(number: int) -> str:
    """Return the file name of a shard."""
    return f"shard-{number:05d}.lmdb"


def shards_in(directory: Path) -> list[Path]:
    """Return the shards of a directory, in order."""
    return sorted(directory.glob("shard-*.lmdb"))


def count_records(shards: Iterable[Path]) -> list[int]:
    """Return the number of records in each shard. An empty file has no records.

    LMDB creates the file first and writes its header afterwards. A writer that is killed in between leaves an
    empty file.
    """
    return [open_shard(path).count if path.stat().st_size else 0 for path in shards]


def _one_by_one(jobs: Sequence[Callable[[], ShardSummary]]) -> Iterable[ShardSummary]:
    return (job() for job in jobs)


def assemble(
    directory: Path,
    *,
    name: str,
    source: Mapping[str, object],
    splits: Callable[[int], Splits],
    units: Mapping[str, str] | None = None,
    compression: str | None = None,
    transforms: dict[str, object] | None = None,
    summarize: Summarize = _one_by_one,
    classes: Collection[str] = (),
    class_names: Mapping[str, list[int | str]] | None = None,
    strict: bool = False,
) -> Manifest:
    """Write the manifest, splits and sizes for the shards in `directory`, and remove empty shards.

    Parameters
    ----------
    directory
        Directory of the shards, which must be complete.
    name, source, compression, transforms
        Fields of the manifest. See `Manifest`.
    splits
        Function from the number of samples to the splits.
    units
        Units of keys that the sample contract does not define.
    summarize
        Function that calls functions, each of which summarizes a shard, in this process or in others, and
        yields their results in order.
    classes
        Names of the targets whose values, integers or words, are classes. The classes are numbered in
        ascending order of all their values.
    class_names
        Names of the classes of targets that are stored as numbers of classes.
    strict
        Whether a target that has different kinds in two samples raises an error.

    Raises
    ------
    ValueError
        If the shards contain no samples, if the splits do not fit the samples, if a record is damaged, or if
        a target has different kinds in two samples.
    """
    shards = shards_in(directory)
    counts = count_records(shards)
    if not sum(counts):
        raise ValueError("the data set has no samples; add at least one")
    for path, count in zip(shards, counts, strict=True):
        if not count:
            path.unlink()
    shards = [path for path, count in zip(shards, counts, strict=True) if count]
    counts = [count for count in counts if count]
    parts = check_splits(splits(sum(counts)))
    for split, indices in parts.items():
        if (last := int(indices.max())) >= sum(counts):
            raise ValueError(
                f"split {split!r} has the index {last}, but the data set has {sum(counts)} samples"
            )
    written = {part: write_split(directory, part, indices) for part, indices in parts.items()}
    jobs = [
        partial(summarize_shard, path, compression=compression, splits=written, start=start, units=units)
        for path, start in zip(shards, accumulate(counts, initial=0), strict=False)
    ]
    schema, statistics = SchemaBuilder(units), dict[str, DatasetStatistics]()
    entries, num_atoms, num_edges = [], [], []
    for summary in summarize(jobs):
        entries.append(summary.entry)
        schema.merge(summary.schema)
        for part, theirs in summary.statistics.items():
            statistics.setdefault(part, DatasetStatistics()).merge(theirs)
        num_atoms.append(summary.num_atoms)
        num_edges.append(summary.num_edges)
    sizes = {"natoms": write_numbers(directory, "natoms.npy", np.concatenate(num_atoms))}
    if all(each is not None for each in num_edges):
        edges = np.concatenate([each for each in num_edges if each is not None])
        sizes["nedges"] = write_numbers(directory, "nedges.npy", edges)
    everything = statistics[EVERYTHING]
    numbered = {target: values for target in classes if (values := everything.values_of(target))}
    for each in statistics.values():
        each.number_classes(numbered)
    described = schema.result(
        classes={**dict.fromkeys(everything.class_targets()), **numbered, **(class_names or {})},
        name_of=partial(_name_of, shards, counts, compression) if strict else None,
    )
    for target in class_names or ():
        if f"targets.{target}" in described:
            described[f"targets.{target}"]["stored"] = "numbers"
    if strict and "target_types" not in described and (types := _target_types(described)):
        described["target_types"] = {
            "dtype": "dict", "shape": None, "units": None, "samples": sum(counts), "value": types,
        }  # fmt: skip
    manifest = Manifest(
        name=name,
        num_samples=sum(counts),
        shards=entries,
        schema=described,
        splits=written,
        sizes=sizes,
        compression=compression,
        transforms=transforms,
        statistics={part: each.result() for part, each in statistics.items()},
        source=dict(source),
    )
    (directory / MANIFEST_FILE).unlink(missing_ok=True)
    manifest.write(directory)
    return manifest


def _target_types(schema: Mapping[str, Mapping[str, object]]) -> dict[str, list[str]]:
    """Return the names of the targets under ``regression`` and ``classification``.

    The records of an import do not contain these lists, because the kinds are known only at its end.
    """
    kinds = {
        key.removeprefix("targets."): entry["kind"]
        for key, entry in schema.items()
        if key.startswith("targets.") and "kind" in entry
    }
    if not kinds:
        return {}
    return {
        "regression": [name for name, kind in kinds.items() if kind != "class"],
        "classification": [name for name, kind in kinds.items() if kind == "class"],
    }


def _name_of(shards: Sequence[Path], counts: Sequence[int], compression: str | None, index: int) -> str:
    """Return the name of a sample for messages: its file and frame if they are known."""
    start = 0
    for path, count in zip(shards, counts, strict=True):
        if index < start + count:
            sample = decode_record(decompressor(compression)(open_shard(path).get(index - start)))
            break
        start += count
    extra = sample.get("extra") or {}
    if "source" in extra and isinstance(extra.get("frame"), int):
        return f"{extra['source']}:frame {extra['frame'] + 1}"
    return str(sample.get("sample_id") or f"structure {index + 1}")
