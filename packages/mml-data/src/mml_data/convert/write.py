"""Write what a reader yields as a data set, with a random split."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mml_data.manifest import Manifest
from mml_data.splits import random_split
from mml_data.writer import LMDBWriter

__all__ = ["Progress", "write_dataset"]

logger = logging.getLogger(__name__)

Progress = bool | Callable[[int], object]
"""True logs every 10,000 structures; a function is called with the number of structures that are done."""

_LOG_EVERY = 10_000


def write_dataset(
    samples: Iterable[tuple[str, Mapping[str, Any]]],
    dest: str | Path,
    *,
    source: Mapping[str, Any],
    splits: Sequence[float],
    seed: int,
    overwrite: bool,
    progress: Progress,
) -> Manifest:
    """Write samples, each with its place in a file, as the data set at `dest`: all of it, or nothing.

    Parameters
    ----------
    samples
        Pairs of a place, for messages, and a sample.
    dest
        Directory of the new data set.
    source
        Where the samples come from, for the manifest; the split is added to it.
    splits
        Shares of the training, validation and test split; they sum up to 1, the last two may be 0.
    seed
        Seed of the split.
    overwrite
        Replace the data set that is at `dest`.
    progress
        See `Progress`.

    Returns
    -------
    Manifest
        What was written.

    Raises
    ------
    FileExistsError
        Where there is something at `dest`, see `LMDBWriter`.
    ValueError
        Where a sample cannot be stored (the message starts with its place), there is none, they are too few
        for the split, or `splits` are no shares.
    """
    shares = _check_shares(splits)
    report = progress if callable(progress) else _log_progress if progress else _ignore
    about = {**source, "split": {"shares": shares, "seed": seed}}
    with LMDBWriter(dest, source=about, overwrite=overwrite) as writer:
        for place, sample in samples:
            try:
                writer.add(sample)
            except (TypeError, ValueError) as error:
                raise ValueError(f"{place}: {error}") from error
            report(len(writer))
        held_out = {name: share for name, share in shares.items() if name != "train" and share > 0}
        writer.set_splits(random_split(np.arange(len(writer)), held_out, seed))
    return Manifest.read(dest)


def _check_shares(splits: Sequence[float]) -> dict[str, float]:
    if len(splits) != 3 or not all(0 <= share <= 1 for share in splits) or abs(sum(splits) - 1) > 1e-9:
        raise ValueError(
            f"splits must be three shares (train, val, test) that sum up to 1, not {tuple(splits)}"
        )
    if splits[0] == 0:
        raise ValueError(f"splits leave nothing for training: {tuple(splits)}")
    return dict(zip(("train", "val", "test"), map(float, splits), strict=True))


def _log_progress(done: int) -> None:
    if done % _LOG_EVERY == 0:
        logger.info("%d structures are done", done)


def _ignore(done: int) -> None:
    pass
