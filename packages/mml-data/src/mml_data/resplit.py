"""Record new splits in an existing data set: random splits, groups that stay together, or folds."""

import fcntl
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import numpy as np

from mml_data.group_samples import find_groups
from mml_data.split_rules import SplitRules
from mml_data.store.manifest import Manifest
from mml_data.store.splits import check_splits, write_numbers
from mml_data.store.statistics import DatasetStatistics
from mml_data.store.stored_dataset import StoredDataset
from mml_data.store.summary import summarize_shard

__all__ = ["split_dataset"]

logger = logging.getLogger(__name__)

_SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}


def split_dataset(
    path: str | Path,
    shares: Mapping[str, float] | None = None,
    *,
    seed: int = 0,
    group_by: str | Callable[[Mapping[str, object]], str] | None = None,
    folds: int | None = None,
    fold: int = 0,
) -> Manifest:
    """Draw splits for a data set, and record them in its manifest in place of the existing splits.

    All samples are read once to compute the statistics of each split, and are compared with the checksums.
    The manifest changes in one step. Readers that have already opened the data set keep the old splits.

    Parameters
    ----------
    path
        Directory of the data set.
    shares
        Name of a split to its share of the samples, above 0. The shares sum to 1. Default: 0.8 for
        ``"train"``, 0.1 for ``"val"`` and 0.1 for ``"test"``.
    seed
        Seed of the split.
    group_by
        Criterion for samples that must stay in the same split: ``"composition"``, ``"elements"``,
        ``"prototype"``, ``"source"`` (file), ``"block"`` (consecutive samples), the key of text or of a label
        in the samples (``"extra.config_type"``, ``"targets.space_group"``), or a function from a stored
        sample to the name of its group. ``"frame"`` splits single samples. Default: the frames of a material
        or trajectory stay together, see `mml_data.group_samples.find_groups`.
    folds, fold
        Number of folds of a cross-validation, in place of `shares`, and the number of the fold that becomes
        the test split. The next fold becomes the validation split, and the others become the training split.

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
    if shares is not None and folds is not None:
        raise ValueError(f"shares and folds are mutually exclusive, got {dict(shares)} and {folds} folds")
    if shares is not None and not all(share > 0 for share in shares.values()):
        raise ValueError(f"shares must be above 0, got {dict(shares)}; leave out a split without samples")
    rules = SplitRules(_SHARES if shares is None else shares, seed, folds, fold)
    dataset = StoredDataset(path)
    groups = find_groups(
        group_by,
        len(dataset),
        lambda function: (function(dataset.stored(index)) for index in range(len(dataset))),
    )
    if groups.note:
        logger.info("%s", groups.note)
    splits = rules.draw(len(dataset), groups.names)
    descriptor = os.open(dataset.path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(
                f"another process is splitting {str(path)!r}; wait until it ends"
            ) from error
        return _record(dataset, splits, rules.describe() | {"group_by": groups.by})
    finally:
        os.close(descriptor)


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
    numbered = {
        key.removeprefix("targets."): entry["class_names"]
        for key, entry in old.schema.items()
        if "class_names" in entry and entry.get("stored") != "numbers"
    }
    for part in statistics.values():
        part.number_classes(numbered)
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
