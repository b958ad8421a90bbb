"""Compute mean and spread of a stream of numbers in float64."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

_BUFFERED = 65536


class Moments:
    """Mean, standard deviation, rms, minimum and maximum of a stream of numbers.

    Numbers are collected in blocks. The mean and the sum of squared deviations of a block are merged into the
    running values with the formula of Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm
    for computing sample variances" (1979). Numbers that are large compared with their spread therefore lose
    no precision.

    Attributes
    ----------
    count
        Number of numbers.
    mean, std, rms
        Mean, standard deviation of the population and root mean square. NaN without any numbers.
    minimum, maximum
        Extrema. Infinite without any numbers.
    """

    def __init__(self) -> None:
        self._count = 0
        self._mean = 0.0
        self._squares = 0.0  # sum of squared deviations from the mean
        self._minimum = np.inf
        self._maximum = -np.inf
        self._blocks: list[NDArray[np.float64]] = []
        self._waiting = 0

    def add(self, values: ArrayLike) -> None:
        """Add finite numbers of any shape: a number, an array, or a tensor on the CPU.

        The values must not change afterwards.
        """
        block = np.asarray(values, dtype=np.float64).ravel()
        self._blocks.append(block)
        self._waiting += block.size
        if self._waiting >= _BUFFERED:
            self._empty()

    def merge(self, other: Self) -> None:
        """Add the numbers that another instance has collected."""
        self._empty()
        other._empty()
        self._join(other._count, other._mean, other._squares, other._minimum, other._maximum)

    @property
    def count(self) -> int:
        """Number of numbers."""
        return self._count + self._waiting

    @property
    def mean(self) -> float:
        """Mean."""
        self._empty()
        return self._mean if self._count else float("nan")

    @property
    def std(self) -> float:
        """Standard deviation of the population."""
        self._empty()
        return float(np.sqrt(self._squares / self._count)) if self._count else float("nan")

    @property
    def rms(self) -> float:
        """Root mean square."""
        self._empty()
        return float(np.sqrt(self._squares / self._count + self._mean**2)) if self._count else float("nan")

    @property
    def minimum(self) -> float:
        """Minimum."""
        self._empty()
        return self._minimum

    @property
    def maximum(self) -> float:
        """Maximum."""
        self._empty()
        return self._maximum

    def result(self) -> dict[str, Any]:
        """Return ``mean``, ``std`` (population), ``rms``, ``min``, ``max`` and ``count``.

        Without any numbers, return only ``count``.
        """
        if self.count == 0:
            return {"count": 0}
        return {
            "mean": self.mean,
            "std": self.std,
            "rms": self.rms,
            "min": self.minimum,
            "max": self.maximum,
            "count": self.count,
        }

    def _empty(self) -> None:
        """Merge the buffered numbers into the running values."""
        blocks, self._blocks = self._blocks, []
        if not self._waiting:
            return
        self._waiting = 0
        block = np.concatenate(blocks)
        mean = float(block.mean())
        squares = float(np.square(block - mean).sum())
        self._join(block.size, mean, squares, float(block.min()), float(block.max()))

    def _join(self, count: int, mean: float, squares: float, minimum: float, maximum: float) -> None:
        if not count:
            return
        total = self._count + count
        delta = mean - self._mean
        self._squares += squares + delta**2 * self._count * count / total
        self._mean += delta * count / total
        self._count = total
        self._minimum, self._maximum = min(self._minimum, minimum), max(self._maximum, maximum)
