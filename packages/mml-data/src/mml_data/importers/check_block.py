"""Check many converted structures at once."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mml_data.importers.contacts import check_contacts, frames_with_contacts

__all__ = ["check_block"]

_MAX_NUMBER = 118
_NO_VOLUME = 1e-6


def check_block(samples: Sequence[dict[str, Any]], *, allow_close: bool) -> bool:
    """Check samples that `mml_data.importers.structure.to_sample` made without a check.

    The result is the same as checking every sample with `mml_data.store.checks.check_storable`, but takes a
    fraction of the time. Atomic numbers are replaced by uint8.

    Returns
    -------
    bool
        Whether all samples are valid. If not, the samples must be checked one by one for the error.
    """
    numbers = [sample["atomic_numbers"] for sample in samples]
    positions = [sample["pos"] for sample in samples]
    for number, position in zip(numbers, positions, strict=True):
        if number.ndim != 1 or number.dtype.kind not in "iu" or position.shape != (number.size, 3):
            return False
    counts = [number.size for number in numbers]
    if not all(counts):
        return False
    joined = np.concatenate(numbers)
    if joined.min() < 1 or joined.max() > _MAX_NUMBER or not np.isfinite(np.concatenate(positions)).all():
        return False
    if not (_are_cells_valid(samples) and _are_targets_finite(samples)):
        return False
    cells = [None if (cell := sample.get("cell")) is None else cell[0] for sample in samples]
    if not allow_close:
        pbc = [sample["pbc"] for sample in samples]
        try:
            for index in frames_with_contacts(numbers, positions, cells, pbc):
                check_contacts(numbers[index], positions[index], cells[index], pbc[index])
        except ValueError:
            return False
    small = joined.astype(np.uint8)
    start = 0
    for sample, count in zip(samples, counts, strict=True):
        sample["atomic_numbers"] = small[start : start + count]
        start += count
    return True


def _are_cells_valid(samples: Sequence[Mapping[str, Any]]) -> bool:
    cells = [sample["cell"] for sample in samples if "cell" in sample]
    if not cells:
        return True
    joined = np.concatenate(cells)
    if not np.isfinite(joined).all():
        return False
    periodic = np.array([sample["pbc"] for sample in samples if "cell" in sample]).all(axis=1)
    return bool((np.abs(np.linalg.det(joined[periodic])) >= _NO_VOLUME).all())


def _are_targets_finite(samples: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether no target is infinite. NaN is a missing value."""
    numbers: list[float] = []
    arrays: dict[str, list[np.ndarray]] = {}
    for sample in samples:
        for name, value in sample.get("targets", {}).items():
            if type(value) is np.ndarray:
                arrays.setdefault(name, []).append(value)
            elif type(value) is float:
                numbers.append(value)
    if numbers and np.isinf(np.array(numbers)).any():
        return False
    return not any(np.isinf(array).any() for listed in arrays.values() for array in _joined(listed))


def _joined(arrays: list[np.ndarray]) -> list[np.ndarray]:
    row = arrays[0].shape[1:]
    return [np.concatenate(arrays)] if all(array.shape[1:] == row for array in arrays) else arrays
