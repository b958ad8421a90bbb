"""Assign batches, or parts of a batch, to data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, cast

from mml_samples import Batch

JointBatch: TypeAlias = Mapping[str, Any]
"""Dict from data set name to its batch, or None if it is exhausted; or the batch of one data set."""


def batches_by_dataset(
    batch: JointBatch, datasets: Sequence[str], loaders: object = None, dataloader_idx: int = 0
) -> dict[str, Batch]:
    """Return the batch of each data set.

    Parameters
    ----------
    batch
        A dict from data set name to batch, None if a data set is exhausted; or the batch of one data set.
    datasets
        Names of all data sets.
    loaders
        Loaders that are read one after another, as a dict or a list.
    dataloader_idx
        Index of the loader of this batch.

    Raises
    ------
    ValueError
        If the data set of a batch cannot be determined, or no data set has a batch.
    """
    if not isinstance(batch, Mapping):
        raise ValueError(f"a batch must be a dict, got {type(batch).__name__}")
    if "graph" not in batch:
        unknown = sorted(set(batch) - set(datasets))
        if unknown:
            raise ValueError(
                f"the batch has no 'graph', and its keys {unknown} are not among the data sets "
                f"{list(datasets)}"
            )
        parts = {name: part for name, part in batch.items() if part is not None}
        if not parts:
            raise ValueError(f"the batch is empty for each of the data sets {list(datasets)}")
        return parts
    one = cast("Batch", batch)
    if len(datasets) == 1:
        return {datasets[0]: one}
    if isinstance(loaders, Mapping) and dataloader_idx < len(loaders):
        name = list(loaders)[dataloader_idx]
        if name in datasets:
            return {name: one}
    elif isinstance(loaders, (list, tuple)) and len(loaders) == len(datasets):
        return {datasets[dataloader_idx]: one}
    raise ValueError(
        f"cannot determine which of the data sets {list(datasets)} a batch belongs to. Pass the loaders in a "
        "dict with these names"
    )
