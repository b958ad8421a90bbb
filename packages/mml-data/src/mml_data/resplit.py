"""Record new splits in an existing data set, drawn at random or so that groups of samples stay together."""

import fcntl
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import numpy as np

from mml_data.grouping import grouping
from mml_data.store.manifest import Manifest
from mml_data.store.splits import check_splits, random_split, write_numbers
from mml_data.store.statistics import DatasetStatistics
from mml_data.store.stored_dataset import StoredDataset
from mml_data.store.summary import summarize_shard

__all__ = ["grouped_split", "split_dataset"]


def split_dataset(
    path: str | Path,
    shares: Mapping[str, float],
    *,
    seed: int = 0,
    group_by: str | Callable[[Mapping[str, object]], str] | None = None,
) -> Manifest:
    """Draw splits for a data set, and record them in its manifest in place of the existing splits.

    All samples are read once to compute the statistics of each split, and are compared with the checksums.
    The manifest changes in one step. Readers that have already opened the data set keep the old splits.

    Parameters
    ----------
    path
        Directory of the data set.
    shares
        Name of a split to its share of the samples, above 0. The shares sum to 1, and one split is
        ``"train"``.
    seed
        Seed of the split.
    group_by
        Criterion for samples that must stay in the same split: ``"composition"``, ``"elements"``,
        ``"prototype"``, the key of text or of a label in the samples (``"extra.source"``,
        ``"targets.space_group"``), or a function from a stored sample to the name of its group. See
        `mml_data.grouping`.

    Returns
    -------
    Manifest
        New manifest of the data set.

    Raises
    ------
    ValueError
        If the shares are invalid, if a split would be empty, or if a shard does not match the manifest.
    BlockingIOError
        If another process is splitting the data set.
    """
    _check_shares(shares)
    dataset = StoredDataset(path)
    held_out = {name: share for name, share in shares.items() if name != "train"}
    indices = np.arange(len(dataset))
    if group_by is None:
        splits = random_split(indices, held_out, seed) if held_out else {"train": indices}
    else:
        group = grouping(group_by)
        groups = [group(dataset.stored(index)) for index in range(len(dataset))]
        splits = grouped_split(groups, shares, seed)
    descriptor = os.open(dataset.path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(
                f"another process is splitting {str(path)!r}; wait until it ends"
            ) from error
        return _record(dataset, splits, {"shares": dict(shares), "seed": seed, "group_by": _name(group_by)})
    finally:
        os.close(descriptor)


def grouped_split(groups: Sequence[str], shares: Mapping[str, float], seed: int) -> dict[str, np.ndarray]:
    """Split samples so that all samples of a group are in the same split.

    Groups are assigned in random order. Each group goes to the split that lacks the most samples.

    Parameters
    ----------
    groups
        Name of the group of each sample.
    shares
        Name of a split to its share of the samples.
    seed
        Seed of the order of groups.

    Returns
    -------
    dict
        Name of a split to its sorted indices.

    Raises
    ------
    ValueError
        If a split would be empty.
    """
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    sizes = np.bincount(member)
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(names))
    wanted = np.array(list(shares.values())) * len(groups)
    placed = np.zeros(len(shares))
    split_of = np.zeros(len(names), dtype=np.int64)
    for group in order:
        split_of[group] = int(np.argmax(wanted - placed))
        placed[split_of[group]] += sizes[group]
    splits = {name: np.flatnonzero(split_of[member] == number) for number, name in enumerate(shares)}
    for name, indices in splits.items():
        if indices.size == 0:
            raise ValueError(
                f"split {name!r} would be empty, because {len(names)} groups are too few for the shares "
                f"{dict(shares)}; use other shares or smaller groups"
            )
    return splits


def _record(dataset: StoredDataset, splits: Mapping[str, np.ndarray], about: dict[str, object]) -> Manifest:
    old = dataset.manifest
    parts = check_splits(splits)
    entries = {}
    for name, indices in parts.items():
        # The file name contains a checksum, so files that readers have opened under the old name do not
        # change.
        entry = write_numbers(dataset.path, f"split-{name}.partial.npy", indices)
        entries[name] = replace(entry, file=f"split-{name}.{entry.sha256[:8]}.npy")
        (dataset.path / entry.file).rename(dataset.path / entries[name].file)
    statistics: dict[str, DatasetStatistics] = {}
    starts = accumulate((shard.count for shard in old.shards), initial=0)
    for shard, start in zip(old.shards, starts, strict=False):
        summary = summarize_shard(
            dataset.path / shard.file, compression=old.compression, splits=entries, start=start
        )
        if summary.entry != shard:
            raise ValueError(
                f"shard {str(dataset.path / shard.file)!r} does not match the manifest; "
                "import the data set again"
            )
        for name, part in summary.statistics.items():
            statistics.setdefault(name, DatasetStatistics()).merge(part)
    manifest = replace(
        old,
        splits=entries,
        statistics={name: part.result() for name, part in statistics.items()},
        source={**old.source, "split": about},
    )
    manifest.write(dataset.path)
    for entry in old.splits.values():
        if entry.file not in {new.file for new in entries.values()}:
            (dataset.path / entry.file).unlink(missing_ok=True)
    return manifest


def _check_shares(shares: Mapping[str, float]) -> None:
    if "train" not in shares:
        raise ValueError(f"shares must contain 'train', got {dict(shares)}")
    if any(not 0 < share <= 1 for share in shares.values()) or abs(sum(shares.values()) - 1) > 1e-9:
        raise ValueError(f"shares must be above 0 and sum to 1, got {dict(shares)}")


def _name(group_by: str | Callable[..., str] | None) -> str | None:
    return (
        group_by if group_by is None or isinstance(group_by, str) else getattr(group_by, "__name__", "custom")
    )
