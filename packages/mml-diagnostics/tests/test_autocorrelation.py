"""Autocorrelation, compared with explicit sums, and its invariances."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mml_diagnostics.spikes.autocorrelation import (
    CHUNK,
    autocorrelation,
    bimodality,
    summarize_autocorrelation,
)


def by_hand(x):
    """Evaluate the formula of the docstring in float64, one element at a time."""
    out = np.zeros(x.shape)
    for j in range(x.shape[1]):
        y = x[:, j] - x[:, j].mean()
        if np.abs(y).max() == 0:
            continue
        for k in range(len(y)):
            out[k, j] = sum(y[t] * y[t + k] for t in range(len(y) - k)) / (y**2).sum()
    return out


def random_series(seed, length, count):
    generator = torch.Generator().manual_seed(seed)
    walks = torch.randn(length, count, generator=generator, dtype=torch.float64).cumsum(0)
    return torch.where(torch.arange(count) % 2 == 0, walks, walks.sin())


@given(st.integers(0, 1000), st.integers(2, 40), st.integers(1, 5))
def test_autocorrelation_equals_explicit_sums(seed, length, count):
    x = random_series(seed, length, count)
    expected = by_hand(x.numpy())
    assert torch.allclose(autocorrelation(x), torch.from_numpy(expected), atol=1e-10)
    assert torch.allclose(autocorrelation(x.float()).double(), torch.from_numpy(expected), atol=2e-5)


@given(
    st.integers(0, 1000), st.integers(2, 40), st.floats(-1e3, 1e3), st.sampled_from([1e-15, -1e-3, 1.0, 1e15])
)
def test_autocorrelation_is_invariant(seed, length, shift, scale):
    x = random_series(seed, length, 3)
    r = autocorrelation(x)
    assert torch.allclose(autocorrelation(x * scale), r, atol=1e-9)
    assert torch.allclose(autocorrelation(x + shift), r, atol=1e-6)
    assert torch.allclose(autocorrelation(x.flip(0)), r, atol=1e-9)
    assert torch.equal(r[0], torch.ones(3, dtype=torch.float64))
    assert r.abs().max() <= 1 + 1e-12


def test_series_do_not_affect_each_other():
    x = random_series(0, 50, 2 * CHUNK + 7)
    together = autocorrelation(x)
    some = [0, 1, CHUNK - 1, CHUNK, 2 * CHUNK + 6]
    assert torch.allclose(
        together[:, some], torch.cat([autocorrelation(x[:, [i]]) for i in some], 1), atol=1e-12
    )


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, -1e30, 1e-38])
def test_constant_series_have_zero_autocorrelation(value):
    x = torch.full((100, 1), value)
    assert torch.equal(autocorrelation(x), torch.zeros(100, 1))


def test_non_finite_series_have_zero_autocorrelation():
    x = random_series(0, 20, 4).float()
    expected = autocorrelation(x)
    x[3, 1], x[4, 2] = torch.nan, torch.inf
    r = autocorrelation(x)
    assert torch.equal(r[:, 1:3], torch.zeros(20, 2))
    assert torch.equal(r[:, [0, 3]], expected[:, [0, 3]])


def test_small_changes_of_large_values_are_resolved():
    period = torch.tensor([0.0, 1.0]).repeat(50)[:, None]
    r = autocorrelation(1000 + 1e-3 * period)
    assert r[1, 0] == pytest.approx(-0.99, abs=1e-3)


def test_autocorrelation_matches_known_spectra():
    alternating = torch.tensor([1.0, -1.0]).repeat(50)[:, None]
    r = autocorrelation(alternating)[:, 0]
    assert torch.allclose(r, (-1.0) ** torch.arange(100) * (1 - torch.arange(100) / 100), atol=1e-5)
    noise = torch.randn(100, 5000, generator=torch.Generator().manual_seed(0))
    spectrum = summarize_autocorrelation(noise)
    assert abs(float(spectrum.mean[1])) < 0.02
    assert spectrum.correlation_time == 1


@settings(max_examples=20)
@given(st.integers(0, 1000), st.integers(2, 20), st.integers(0, CHUNK + 5))
def test_summary_ignores_constant_series(seed, length, count):
    x = random_series(seed, length, count)
    x[:, ::3] = 7.0
    spectrum = summarize_autocorrelation(x)
    r = autocorrelation(x)
    moving = r[:, r[0] > 0]
    assert (spectrum.num_moving, spectrum.num_series) == (moving.shape[1], count)
    if moving.shape[1]:
        assert torch.allclose(spectrum.mean, moving.mean(1), atol=1e-9)
        assert torch.allclose(spectrum.std, moving.std(1, correction=0), atol=1e-6)
    else:
        assert spectrum.correlation_time == 0
        assert torch.equal(spectrum.mean, torch.zeros(length, dtype=torch.float64))


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), (0, 3)])
@pytest.mark.parametrize("function", [autocorrelation, summarize_autocorrelation])
def test_functions_reject_invalid_shapes(shape, function):
    with pytest.raises(ValueError, match="series must have shape"):
        function(torch.zeros(shape))


def test_bimodality_matches_known_distributions():
    generator = torch.Generator().manual_seed(0)
    assert bimodality(torch.randn(10**5, generator=generator)) == pytest.approx(1 / 3, abs=0.01)
    assert bimodality(torch.rand(10**5, generator=generator)) == pytest.approx(5 / 9, abs=0.01)
    assert bimodality(torch.tensor([1.0, -1.0, 1.0, -1.0])) == pytest.approx(1)
    assert bimodality(torch.ones(9)) == 0
    assert bimodality(torch.tensor([math.nan, math.inf])) == 0
