"""What is read from Adam's moments, against quadratics whose curvature is known."""

import math

import pytest
import torch
from mml_diagnostics.adam_instability import (
    adam_update,
    bimodal_updates,
    sharpness,
    stability_bound,
    unstable_preconditioner,
)
from mml_diagnostics.adam_trace import AdamTrace
from mml_diagnostics.parameter_sample import SeriesBuffer


def join(layers):
    """One trace of several layers."""
    sizes = torch.tensor([layer.v.numel() for layer in layers.values()])
    kinds = ("gradients", "parameters", "updates")
    rows = [torch.cat([getattr(layer, kind) for layer in layers.values()], dim=1) for kind in kinds]
    v = torch.cat([layer.v for layer in layers.values()])
    options = [torch.cat([getattr(x, name) for x in layers.values()]) for name in ("lr", "eps", "beta1")]
    return AdamTrace(tuple(layers), torch.arange(len(layers)).repeat_interleave(sizes), *rows, v, *options)


def make_trace(gradients, parameters, updates, v, *options):
    options = [torch.tensor([x], dtype=torch.float64) for x in options]
    layer = torch.zeros(len(v), dtype=torch.long)
    return AdamTrace(("layer",), layer, gradients, parameters, updates, v, *options)


def descend(curvature, lr, steps=60, start=1.0, beta1=0.9, v=1.0):
    """Adam with v held fixed on sum(curvature x^2 / 2): a system whose bound is exact."""
    h = torch.as_tensor(curvature, dtype=torch.float64)
    x = torch.full_like(h, start)
    m = torch.zeros_like(h)
    rows = {kind: SeriesBuffer(100, len(h)) for kind in "gpu"}
    for _ in range(steps):
        g = h * x
        for kind, value in zip("gpu", (g, x, m / math.sqrt(v)), strict=True):
            rows[kind].next_row.copy_(value)
            rows[kind].advance()
        m = beta1 * m + (1 - beta1) * g
        x = x - lr * m / math.sqrt(v)
    kinds = [rows[kind].rows for kind in "gpu"]
    return make_trace(*kinds, torch.full((len(h),), v), lr, 0.0, beta1)


def bound(beta1=0.9):
    return float(stability_bound(torch.tensor(beta1)))


@pytest.mark.parametrize("beta1", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("share", [0.9, 1.05, 1.3])
def test_sharpness_of_a_quadratic_and_whether_it_is_stable(beta1, share):
    lr = 0.1
    trace = descend([share * bound(beta1) / lr], lr, beta1=beta1)
    assert sharpness(trace) == pytest.approx(share, rel=1e-2)
    size = trace.parameters.abs()
    assert bool(size[-10:].max() > size[:10].max()) == (share > 1)  # the bound is the bound


def test_an_unstable_direction_is_seen_beside_a_drift_that_is_a_thousand_times_larger():
    lr = 0.1
    calm = descend([0.1] * 50, lr, start=100.0)
    shaking = descend([1.1 * bound() / lr], lr, start=1e-4)
    assert sharpness(join({"calm": calm, "shaking": shaking})) == pytest.approx(1.1, rel=0.05)


def test_layers_have_learning_rates_of_their_own():
    one, other = (descend([0.95 * bound() / lr], lr, start=1e-3) for lr in (0.1, 0.001))
    assert sharpness(join({"one": one, "other": other})) == pytest.approx(0.95, rel=1e-2)


def test_the_warning_needs_decoupling_and_curvature_at_the_bound():
    lr, h = 0.1, 1.02 * bound() / 0.1
    small = descend([h], lr, start=1e-9, steps=40)
    (problem,) = unstable_preconditioner(small)
    assert problem.check == "adam_unstable_preconditioner"
    assert "least in layer" in problem.message
    assert "102 %" in problem.message
    coupled = descend([h], lr, start=1.0)  # gradients as large as v
    assert unstable_preconditioner(coupled) == []
    stable = descend([0.8 * h], lr, start=1e-9)
    assert unstable_preconditioner(stable) == []


def test_too_few_steps_or_nothing_that_moves():
    assert math.isnan(sharpness(descend([1.0], 0.1, steps=12)))
    assert sharpness(descend([1.0], 0.1, steps=13)) > 0
    for still in (descend([1.0], 0.0), descend([0.0], 0.1)):
        assert math.isnan(sharpness(still))
        assert unstable_preconditioner(still) == []
        assert bimodal_updates(still) == []


def adam_on_constant_signs(scale, eps, noise):
    """Adam's own moments for gradients of two signs, with noise from step to step."""
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(200, generator=generator).sign()
    drift = torch.linspace(1, 2, 300)
    m = v = torch.zeros(200)
    g_rows, u_rows = [], []
    for t in range(300):
        fresh = torch.randn(200, generator=generator)
        g = scale * ((1 - noise) * base * drift[t] + noise * fresh)
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g * g
        g_rows.append(g)
        u_rows.append(adam_update(m, v, eps))
    g, u = torch.stack(g_rows[-100:]), torch.stack(u_rows[-100:])
    return make_trace(g, torch.zeros_like(g), u, v, 0.1, eps, 0.9)


def test_bimodal_updates_of_a_layer_near_eps():
    eps = 1e-8
    sick, noisy = (adam_on_constant_signs(3 * eps, eps, noise) for noise in (0.0, 1.0))
    (problem,) = bimodal_updates(join({"first": sick, "second": noisy}))
    assert problem.where == "first"
    assert bimodal_updates(adam_on_constant_signs(1.0, eps, noise=0.0)) == []
