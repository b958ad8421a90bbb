"""Statistics of targets and structures in one streaming pass, in float64."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from mml_data.elements import SYMBOLS

__all__ = ["DatasetStatistics", "Moments"]

_BUFFERED = 65536


class Moments:
    """Mean, standard deviation, rms and range of a stream of numbers.

    Numbers are gathered in blocks; a block's mean and sum of squared deviations are merged into the running
    ones with the formula of Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for
    computing sample variances" (1979), so that numbers that are large against their spread lose nothing.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0
        self.sum_squared_deviations = 0.0
        self.minimum = np.inf
        self.maximum = -np.inf
        self._blocks: list[np.ndarray] = []
        self._waiting = 0

    def add(self, values: np.ndarray) -> None:
        """Take in finite `values` of any shape."""
        self._blocks.append(np.asarray(values, dtype=np.float64).ravel())
        self._waiting += values.size
        if self._waiting >= _BUFFERED:
            self._merge()

    def result(self) -> dict[str, float]:
        """Return ``mean``, ``std`` (population), ``rms``, ``min``, ``max``, ``count``; only that if empty."""
        self._merge()
        if self.count == 0:
            return {"count": 0}
        variance = self.sum_squared_deviations / self.count
        return {
            "mean": self.mean,
            "std": float(np.sqrt(variance)),
            "rms": float(np.sqrt(variance + self.mean**2)),
            "min": float(self.minimum),
            "max": float(self.maximum),
            "count": self.count,
        }

    def _merge(self) -> None:
        if not self._waiting:
            return
        block = np.concatenate(self._blocks)
        self._blocks, self._waiting = [], 0
        mean = float(block.mean())
        delta, total = mean - self.mean, self.count + block.size
        self.sum_squared_deviations += (
            float(np.square(block - mean).sum()) + delta**2 * self.count * block.size / total
        )
        self.mean += delta * block.size / total
        self.count = total
        self.minimum = min(self.minimum, float(block.min()))
        self.maximum = max(self.maximum, float(block.max()))


class DatasetStatistics:
    """Statistics of the samples that are shown to it.

    The result has ``count`` (samples), ``natoms`` (``min``, ``mean``, ``max``), ``elements`` (atoms of
    each, by symbol) and ``targets``. A numeric target has ``mean``, ``std``, ``rms``, ``min``, ``max``,
    ``count`` over all its components, in the units in which it is stored; one number a structure has also
    ``per_atom_mean`` and ``per_atom_std`` (of the value divided by the number of atoms). An integer or
    boolean target that no sample's ``target_types`` names under ``regression`` has ``classes``,
    ``class_counts`` and ``count`` instead. NaN counts as ``missing`` (given where there is any).
    """

    def __init__(self) -> None:
        self._count = 0
        self._natoms = Moments()
        self._elements = np.zeros(len(SYMBOLS), dtype=np.int64)
        self._targets: dict[str, _Target] = {}

    def add(self, sample: Mapping[str, Any]) -> None:
        """Take in one sample; arrays may be numpy's or torch's.

        Raises
        ------
        ValueError
            Where it has no ``atomic_numbers``.
        """
        if "atomic_numbers" not in sample:
            name = sample.get("sample_id", f"sample {self._count}")
            raise ValueError(
                f"{name} has no 'atomic_numbers', which statistics need; it has {', '.join(sample)}"
            )
        numbers = np.asarray(sample["atomic_numbers"])
        self._count += 1
        self._natoms.add(np.array([numbers.size]))
        self._elements += np.bincount(numbers, minlength=len(SYMBOLS))
        regression = sample.get("target_types", {}).get("regression", ())
        for name, value in sample.get("targets", {}).items():
            self._targets.setdefault(name, _Target()).add(np.asarray(value), numbers.size, name in regression)

    def result(self) -> dict[str, Any]:
        """Statistics of all samples so far, fit for JSON."""
        natoms = self._natoms.result()
        return {
            "count": self._count,
            "natoms": {key: natoms[key] for key in ("min", "mean", "max") if key in natoms},
            "elements": {
                SYMBOLS[number]: int(self._elements[number]) for number in np.flatnonzero(self._elements)
            },
            "targets": {name: target.result() for name, target in self._targets.items()},
        }


class _Target:
    def __init__(self) -> None:
        self.values = Moments()
        self.per_atom = Moments()
        self.one_a_structure = True
        self.classes: Counter[int] | None = Counter()
        self.missing = 0

    def add(self, value: np.ndarray, natoms: int, regression: bool) -> None:
        if value.dtype.kind == "f" or regression:
            self.classes = None
        if self.classes is not None:
            self.classes.update(int(label) for label in value.ravel())
        number = value.astype(np.float64).ravel()
        known = number[~np.isnan(number)]
        self.missing += number.size - known.size
        self.values.add(known)
        self.one_a_structure = self.one_a_structure and value.size == 1 and value.ndim <= 1
        if self.one_a_structure:
            self.per_atom.add(known / natoms)

    def result(self) -> dict[str, Any]:
        if self.classes is not None:
            labels = sorted(self.classes)
            return {
                "classes": labels,
                "class_counts": [self.classes[label] for label in labels],
                "count": sum(self.classes.values()),
            }
        result: dict[str, Any] = dict(self.values.result())
        if self.one_a_structure and result["count"]:
            per_atom = self.per_atom.result()
            result |= {"per_atom_mean": per_atom["mean"], "per_atom_std": per_atom["std"]}
        return result | ({"missing": self.missing} if self.missing else {})
