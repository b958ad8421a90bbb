"""Statistics that single wrong values do not disturb."""

from typing import NamedTuple

import numpy as np

__all__ = ["Line", "fit_line", "gap", "scale"]


class Line(NamedTuple):
    """Line through the origin, ``y = slope * x``.

    Attributes
    ----------
    slope
        Slope.
    error
        Standard error of the slope.
    explained
        1 minus the median absolute residual, divided by the median absolute y. 1 is a perfect fit.
    """

    slope: float
    error: float
    explained: float


def fit_line(x: np.ndarray, y: np.ndarray) -> Line:
    """Fit a line through the origin that minimizes the sum of absolute residuals.

    The slope is the median of the ratios y / x, weighted with the absolute values of x. Up to half of the
    weight can be outliers.

    Parameters
    ----------
    x, y
        Values, [n].
    """
    used = np.abs(x) > 1e-12
    x, y = x[used], y[used]
    if not x.size:
        return Line(float("nan"), float("inf"), 0.0)
    ratios = y / x
    order = np.argsort(ratios)
    weights = np.cumsum(np.abs(x[order]))
    slope = float(ratios[order][np.searchsorted(weights, weights[-1] / 2)])
    left = np.abs(y - slope * x)
    spread, middle = float(np.median(np.abs(y))), float(np.median(left))
    inside = left <= 5 * max(middle, 1e-12)
    error = 1.5 * middle / max(float(np.sqrt((x[inside] ** 2).sum())), 1e-300)
    return Line(slope, error, 1 - middle / spread if spread > 0 else 0.0)


def scale(values: np.ndarray) -> float:
    """Return the median absolute deviation, multiplied by 1.4826 to estimate a standard deviation."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values)))) if values.size else float("nan")


def gap(values: np.ndarray, share: float = 0.02) -> tuple[float, float, float]:
    """Return the widest gap in sorted values, of which each side has at least `share` of the values.

    Returns
    -------
    tuple
        Threshold in the middle of the gap, width of the gap, and the larger of the spreads (range from the
        5th to the 95th percentile) of both sides.
    """
    ordered = np.sort(values)
    few = max(2, int(np.ceil(share * ordered.size)))
    if ordered.size < 2 * few:
        return float("nan"), 0.0, float("inf")
    widths = np.diff(ordered)[few - 1 : ordered.size - few]
    at = int(np.argmax(widths)) + few - 1
    spreads = [
        float(np.subtract(*np.percentile(side, (95, 5)))) for side in (ordered[: at + 1], ordered[at + 1 :])
    ]
    return float(ordered[at : at + 2].mean()), float(widths.max()), max(spreads)
