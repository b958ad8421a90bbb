"""Histograms count every value once, and their quantiles match those of the values."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mml_diagnostics.histogram import QUANTILES, Histogram, histogram_of

FLOATS = st.floats(-1e6, 1e6, width=32)


@given(st.lists(FLOATS, min_size=1, max_size=200), st.integers(1, 70))
def test_bins_count_every_value(values, bins):
    histogram = histogram_of(torch.tensor(values), bins)
    assert histogram.counts.shape == (bins,)
    assert histogram.total == len(values)
    inside = sum(
        ((np.array(values) >= low) & (np.array(values) < high)).sum()
        for low, high in zip(histogram.edges[:-1], histogram.edges[1:], strict=True)
    )
    assert inside + (np.array(values) == histogram.edges[-1]).sum() == len(values)
    ordered = sorted(values)
    assert histogram.quantiles[0.0] == ordered[0]
    assert histogram.quantiles[1.0] == ordered[-1]
    assert list(histogram.quantiles.values()) == sorted(histogram.quantiles.values())


@given(st.lists(FLOATS, min_size=2, max_size=200).filter(lambda v: max(v) - min(v) > 1e-2))
def test_quantiles_are_within_one_bin(values):
    exact = histogram_of(values, bins=50)
    width = exact.edges[1] - exact.edges[0]
    rough = Histogram(exact.counts, exact.edges)
    for q in QUANTILES:
        # between two values both are right: the quantile lies anywhere from the lower to the upper
        low, high = np.quantile(values, q, method="lower"), np.quantile(values, q, method="higher")
        below = np.quantile(values, max(q - 1 / len(values), 0), method="lower")
        assert min(low, below) - width * 1.001 <= rough.quantiles[q] <= high + width * 1.001


def test_non_finite_values_are_counted_separately():
    histogram = histogram_of([1.0, float("inf"), float("nan"), 3.0], bins=2)
    assert (histogram.total, histogram.non_finite) == (2, 2)
    assert histogram.scalars["q50"] == 2.0
    assert histogram.scalars["non_finite"] == 2.0
    empty = histogram_of([float("nan")])
    assert (empty.total, empty.scalars) == (0, {"non_finite": 1.0})
    assert histogram_of([]).scalars == {}


@pytest.mark.parametrize(
    ("counts", "edges", "message"),
    [
        ([1, 2], [0.0, 1.0], r"expected len\(edges\)"),
        ([], [0.0], r"expected len\(edges\)"),
        ([1, -1], [0.0, 1.0, 2.0], "counts must be"),
        ([1, np.nan], [0.0, 1.0, 2.0], "counts must be"),
        ([1, 1], [0.0, 2.0, 1.0], "edges must be"),
        ([1, 1], [0.0, 1.0, np.inf], "edges must be"),
    ],
)
def test_invalid_histograms_are_rejected(counts, edges, message):
    with pytest.raises(ValueError, match=message):
        Histogram(np.array(counts, dtype=float), np.array(edges))
    with pytest.raises(ValueError, match="bins must be at least 1, got 0"):
        histogram_of([1.0], bins=0)
