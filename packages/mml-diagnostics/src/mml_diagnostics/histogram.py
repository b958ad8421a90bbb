"""Histograms for all loggers: counts and edges, and quantiles for loggers that accept only numbers."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray[Any, np.dtype[np.float64]]

Values = Tensor | Array | Iterable[float]

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


@dataclass(frozen=True)
class Histogram:
    """Counts of values in bins, with the quantiles of the values.

    Parameters
    ----------
    counts
        Number of values in each bin, [n].
    edges
        Increasing edges of the bins, [n + 1].
    quantiles
        Mapping from quantile (0 to 1) to value. Computed from counts and edges if not given.
    non_finite
        Number of NaN and Inf values, which are not in ``counts``.

    Raises
    ------
    ValueError
        If the number of edges is not the number of counts plus one, if a count is negative or not finite, or
        if the edges are not finite and increasing.
    """

    counts: Array
    edges: Array
    quantiles: dict[float, float] = field(default_factory=dict)
    non_finite: int = 0

    def __post_init__(self) -> None:
        counts, edges = (np.asarray(x, dtype=np.float64) for x in (self.counts, self.edges))
        if counts.ndim != 1 or not len(counts) or edges.shape != (len(counts) + 1,):
            raise ValueError(
                f"expected len(edges) == len(counts) + 1, got counts of shape {counts.shape} "
                f"and edges of shape {edges.shape}"
            )
        if not (np.isfinite(counts).all() and (counts >= 0).all()):
            raise ValueError("counts must be finite and at least 0")
        if not (np.isfinite(edges).all() and (np.diff(edges) > 0).all()):
            raise ValueError("edges must be finite and increasing")
        object.__setattr__(self, "counts", counts)
        object.__setattr__(self, "edges", edges)
        if not self.quantiles and counts.sum():
            object.__setattr__(self, "quantiles", {q: _interpolate(counts, edges, q) for q in QUANTILES})

    @property
    def total(self) -> int:
        """Number of finite values."""
        return int(self.counts.sum())

    @property
    def scalars(self) -> dict[str, float]:
        """The quantiles as ``q00``, ``q05`` ... ``q100``, and ``non_finite`` if it is not zero."""
        numbers = {f"q{round(100 * q):02d}": value for q, value in self.quantiles.items()}
        return numbers | ({"non_finite": float(self.non_finite)} if self.non_finite else {})


def histogram_of(values: Values, bins: int = 64) -> Histogram:
    """Count ``values`` of any shape in ``bins`` bins of equal width between the minimum and the maximum.

    Quantiles are those of the values, with linear interpolation. Non-finite values are counted separately. A
    tensor is read from its device in one transfer.

    Raises
    ------
    ValueError
        If ``bins`` is below one.
    """
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    if isinstance(values, Tensor):
        array = values.detach().to("cpu", torch.float64).reshape(-1).numpy()
    else:
        array = np.asarray(
            values if isinstance(values, np.ndarray) else list(values), dtype=np.float64
        ).ravel()
    finite = array[np.isfinite(array)]
    low, high = (finite.min(), finite.max()) if len(finite) else (0.0, 1.0)
    edges = np.linspace(low, high, bins + 1)
    if not (np.diff(edges) > 0).all():  # all values are equal within floating-point precision
        width = max(abs(low), abs(high), 1e-300) * 1e-6
        edges = np.linspace(low - width, high + width, bins + 1)
    counts, _ = np.histogram(finite, edges)
    at = dict(zip(QUANTILES, np.quantile(finite, QUANTILES).tolist(), strict=True)) if len(finite) else {}
    return Histogram(counts, edges, at, len(array) - len(finite))


def _interpolate(counts: Array, edges: Array, q: float) -> float:
    """Return the ``q`` quantile, assuming that values are distributed evenly over each bin."""
    filled = np.flatnonzero(counts)
    counts, cumulative = counts[filled], np.cumsum(counts[filled])
    index = int(min(np.searchsorted(cumulative, q * cumulative[-1]), len(filled) - 1))
    left, right = edges[filled[index]], edges[filled[index] + 1]
    before = cumulative[index] - counts[index]
    return float(left + (right - left) * (q * cumulative[-1] - before) / counts[index])
