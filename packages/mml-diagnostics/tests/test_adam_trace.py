"""Values for each layer, compared with a loop over the layers."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mml_diagnostics.spikes.adam_trace import (
    AdamTrace,
    decoupling,
    gradient_correlation,
    sqrt_v_over_eps,
    update_bimodality,
)
from mml_diagnostics.spikes.autocorrelation import bimodality


def random_trace(seed, sizes, steps):
    generator = torch.Generator().manual_seed(seed)
    n = sum(sizes)

    def rows():
        values = torch.randn(steps, n, generator=generator)
        values[:, torch.rand(n, generator=generator) < 0.3] = (
            0.0  # such as rows of an embedding without atoms
        )
        return values

    v = torch.randn(n, generator=generator).exp() * (torch.rand(n, generator=generator) < 0.8)
    options = torch.rand(5, len(sizes), generator=generator, dtype=torch.float64)
    layer = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    names = tuple(f"layer{i}" for i in range(len(sizes)))
    return AdamTrace(names, layer, rows(), rows(), rows(), v, *options, 1.0)


def same(a, b):
    return (math.isnan(a) and math.isnan(b)) or a == pytest.approx(b, rel=1e-6)


@given(st.integers(0, 999), st.lists(st.integers(1, 30), min_size=1, max_size=4), st.integers(1, 14))
def test_layer_values_equal_loop_over_layers(seed, sizes, steps):
    trace = random_trace(seed, sizes, steps)
    seen = decoupling(trace), sqrt_v_over_eps(trace), update_bimodality(trace)
    for i in range(len(sizes)):
        mine = trace.layer == i
        g, u, v = trace.gradients[-10:, mine], trace.updates[-10:, mine], trace.v[mine].double()
        live = (g != 0).any(0) & (v > 0)
        ratios = [float(row[live].double().square().sum() / v[live].sum()) for row in g]
        expected = sorted(ratios)[(len(ratios) - 1) // 2] if live.any() else math.nan
        assert same(float(seen[0][i]), expected)
        logs = [math.log(math.sqrt(x)) for x in v.tolist() if x > 0]
        mean = math.exp(sum(logs) / len(logs)) if logs else math.nan
        assert same(float(seen[1][i]), mean / float(trace.eps[i]))
        u = u[u != 0]
        assert same(float(seen[2][i]), bimodality(u) if len(u) >= 64 else math.nan)


def test_decoupling_ignores_elements_without_gradients():
    gradients = torch.full((20, 4), 0.1)
    gradients[:, 2:] = 0.0
    option = torch.tensor([0.1], dtype=torch.float64)
    v = torch.tensor([1.0, 1.0, 50.0, 0.0])
    trace = AdamTrace(("w",), torch.zeros(4, dtype=torch.long), *[gradients] * 3, v, *[option] * 5, 1.0)
    assert float(decoupling(trace)) == pytest.approx(0.01)


def test_gradient_correlation_matches_known_series():
    t = torch.arange(40.0)
    gradients = torch.stack([(t / 10).sin(), (-1.0) ** t, torch.zeros(40)], dim=1)
    option = torch.ones(3, dtype=torch.float64)
    trace = AdamTrace(tuple("abc"), torch.arange(3), *[gradients] * 3, torch.ones(3), *[option] * 5, 1.0)
    assert gradient_correlation(trace, 0) > 0.9
    assert gradient_correlation(trace, 1) < -0.9
    assert math.isnan(gradient_correlation(trace, 2))
