"""Compute the mean and the spread of each point of a stream of spectra in float64."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray


class BinMoments:
    """Mean and standard deviation of each of the M points of spectra, without their missing values (NaN).

    Blocks are merged as in `mml_samples.Moments`.

    Attributes
    ----------
    count
        Number of known values of each point, [M] int64. Empty without any spectra.
    mean, std
        Mean and standard deviation of the population, [M]. NaN for points without any value.
    """

    def __init__(self) -> None:
        self.count: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._mean: NDArray[np.float64] = np.zeros(0)
        self._squares: NDArray[np.float64] = np.zeros(0)

    def add(self, values: ArrayLike) -> None:
        """Add spectra [n, M].

        Raises
        ------
        ValueError
            If M differs from that of earlier spectra.
        """
        block = np.asarray(values, dtype=np.float64)
        known = ~np.isnan(block)
        count = known.sum(axis=0)
        divisor = np.maximum(count, 1)
        mean = np.where(known, block, 0.0).sum(axis=0) / divisor
        squares = np.square(np.where(known, block - mean, 0.0)).sum(axis=0)
        self._join(count, mean, squares)

    def merge(self, other: Self) -> None:
        """Add the spectra that another instance has collected.

        Raises
        ------
        ValueError
            If M differs.
        """
        if other.count.size:
            self._join(other.count, other._mean, other._squares)

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean of each point."""
        return np.where(self.count > 0, self._mean, np.nan)

    @property
    def std(self) -> NDArray[np.float64]:
        """Standard deviation of each point."""
        spread = np.sqrt(self._squares / np.maximum(self.count, 1))
        return np.where(self.count > 0, spread, np.nan)

    def result(self) -> dict[str, Any]:
        """Return ``bin_mean`` and ``bin_std``, lists of length M, or nothing if a point has no value."""
        if not self.count.size or not self.count.all():
            return {}
        return {"bin_mean": self.mean.tolist(), "bin_std": self.std.tolist()}

    def _join(
        self, count: NDArray[np.int64], mean: NDArray[np.float64], squares: NDArray[np.float64]
    ) -> None:
        if not self.count.size:
            self.count, self._mean, self._squares = count.copy(), mean.copy(), squares.copy()
            return
        if count.shape != self.count.shape:
            raise ValueError(f"spectra of {count.size} points cannot be added to those of {self.count.size}")
        total = self.count + count
        delta = mean - self._mean
        share = count / np.maximum(total, 1)
        self._squares = self._squares + squares + delta**2 * self.count * share
        self._mean = self._mean + delta * share
        self.count = total
