"""Check some samples of a data set, within about a second."""

from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic
from typing import Any

from mml_data.physics.check_dataset import judge
from mml_data.physics.evidence import collect
from mml_data.physics.finding import Finding
from mml_data.store.stored_dataset import StoredDataset

__all__ = ["quick_findings"]

_SAMPLES = 200
_BLOCK = 20
_SECONDS = 0.5
_LEFT_OUT = ("labels", "duplicates", "leakage")


def quick_findings(
    dataset: str | Path | Callable[[int], Mapping[str, Any]], count: int | None = None
) -> list[Finding]:
    """Check at most 200 samples in blocks of consecutive ones, for the end of an import.

    The checks that need all samples (coverage of labels, duplicates, leakage) are left out. Reading stops
    after half a second.

    Parameters
    ----------
    dataset
        Directory of a data set, or a function from an index to a sample as stored.
    count
        Number of samples. Required with a function.

    Returns
    -------
    list
        Errors and warnings, the errors first. Their ``frames`` only list samples that were read.
    """
    if not callable(dataset):
        stored = StoredDataset(dataset)
        dataset, count = stored.stored, len(stored)
    if count is None:
        raise ValueError("count is required if the samples are given as a function")
    end = monotonic() + _SECONDS
    samples = []
    for index in _indices(count):
        samples.append((index, "", dataset(index)))
        if monotonic() > end:
            break
    return [
        found
        for found in judge(collect(samples))
        if found.severity in ("error", "warning") and found.check not in _LEFT_OUT
    ]


def _indices(count: int) -> list[int]:
    """Return up to 200 indices in ten evenly spaced blocks of consecutive ones, the first block first."""
    if count <= _SAMPLES:
        return list(range(count))
    blocks = _SAMPLES // _BLOCK
    starts = [number * (count - _BLOCK) // (blocks - 1) for number in range(blocks)]
    return sorted({index for start in starts for index in range(start, start + _BLOCK)})
