"""Check some samples of a data set, in less than a second."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mml_data.physics.check_dataset import judge
from mml_data.physics.evidence import collect
from mml_data.physics.finding import Finding
from mml_data.store.stored_dataset import StoredDataset

__all__ = ["quick_findings"]

_SAMPLES = 200
_BLOCK = 20
_ATOMS = 16_000
_MOST_ATOMS = 2_000  # of a sample
_LEFT_OUT = ("labels", "duplicates", "leakage")


def quick_findings(
    dataset: str | Path | Callable[[int], Mapping[str, Any]], count: int | None = None
) -> list[Finding]:
    """Check at most 200 samples in blocks of consecutive ones, for the end of an import.

    The checks that need all samples (coverage of labels, duplicates, leakage) are left out, as are samples
    with more than 2,000 atoms. Reading stops after 16,000 atoms, not after a time, so that the result is the
    same on every machine.

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
    samples, atoms = [], 0
    for index in _indices(count):
        sample = dataset(index)
        size = len(sample["atomic_numbers"])
        if size > _MOST_ATOMS:
            continue
        samples.append((index, "", sample))
        atoms += size
        if atoms >= _ATOMS:
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
