"""Estimates from Adam's moments, compared with quadratics of known curvature."""

import math

import pytest
import torch
from mml_diagnostics.spikes.adam_instability import (
    adam_update,
    bimodal_updates,
    oscillation,
    stability_bound,
    unstable_preconditioner,
)
from mml_diagnostics.spikes.adam_trace import AdamTrace
from mml_diagnostics.spikes.parameter_sample import SeriesBuffer


def join(layers):
    """Join traces as the layers of one trace."""
    sizes = torch.tensor([layer.v.numel() for layer in layers.values()])
    kinds = ("gradients", "parameters", "updates")
    rows = [torch.cat([getattr(layer, kind) for layer in layers.values()], dim=1) for kind in kinds]
    v = torch.cat([layer.v for layer in layers.values()])
    names = ("lr", "eps", "beta1", "beta2", "share")
    options = [torch.cat([getattr(x, name) for x in layers.values()]) for name in names]
    layer = torch.arange(len(layers)).repeat_interleave(sizes)
    return AdamTrace(tuple(layers), layer, *rows, v, *options, min(x.loss for x in layers.values()))


def make_trace(gradients, parameters, updates, v, lr, eps, beta1, beta2=0.999, share=1.0, loss=1.0):
    options = [torch.tensor([x], dtype=torch.float64) for x in (lr, eps, beta1, beta2, share)]
    layer = torch.zeros(len(v), dtype=torch.long)
    return AdamTrace(("layer",), layer, gradients, parameters, updates, v, *options, loss)


def descend(curvature, lr, steps=60, start=1.0, beta1=0.9, v=1.0, **about):
    """Run Adam with fixed v on sum(curvature x^2 / 2). For this system, the stability bound is exact."""
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
    return make_trace(*kinds, torch.full((len(h),), v), lr, 0.0, beta1, **about)


def bound(beta1=0.9):
    return float(stability_bound(torch.tensor(beta1)))


@pytest.mark.parametrize("beta1", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("share", [0.9, 1.05, 1.3])
def test_sharpness_equals_that_of_quadratic(beta1, share):
    lr = 0.1
    trace = descend([share * bound(beta1) / lr], lr, beta1=beta1)
    assert oscillation(trace).sharpness == pytest.approx(share, rel=1e-2)
    size = trace.parameters.abs()
    assert bool(size[-10:].max() > size[:10].max()) == (share > 1)  # the bound is the bound


def test_unstable_direction_is_detected_beside_large_drift():
    lr = 0.1
    calm = descend([0.1] * 50, lr, start=100.0)
    shaking = descend([1.1 * bound() / lr], lr, start=1e-4)
    assert oscillation(join({"calm": calm, "shaking": shaking})).sharpness == pytest.approx(1.1, rel=0.05)


def test_sharpness_uses_learning_rate_of_each_layer():
    one, other = (descend([0.95 * bound() / lr], lr, start=1e-3) for lr in (0.1, 0.001))
    assert oscillation(join({"one": one, "other": other})).sharpness == pytest.approx(0.95, rel=1e-2)


@pytest.mark.parametrize("start", [1e-6, 1.0])
@pytest.mark.parametrize(("beta2", "v", "loss"), [(0.999, 1.0, 0.1), (0.99, 4.0, -0.1), (0.9, 1e-8, 1e-6)])
def test_spike_height_ignores_size_of_oscillation(start, beta2, v, loss):
    """For x = +-a, E = h a^2 / 2 and r = (1 - beta2) (h a)^2 / v. The height does not depend on a."""
    lr = 0.1
    h = 0.98 * bound() / lr * math.sqrt(v)
    seen = oscillation(descend([h], lr, start=start, v=v, beta2=beta2, loss=loss))
    assert seen.sharpness == pytest.approx(0.98, rel=1e-2)
    assert seen.height == pytest.approx(0.01 * v / (2 * (1 - beta2) * h * abs(loss)), rel=0.02)


def test_sampled_share_scales_result():
    lr = 0.1
    whole = oscillation(descend([0.95 * bound() / lr] * 100, lr, start=1e-3))
    sampled = oscillation(descend([0.95 * bound() / lr] * 5, lr, start=1e-3, share=0.05))
    assert sampled.sharpness == pytest.approx(whole.sharpness)
    assert sampled.height == pytest.approx(whole.height)


def test_warning_requires_curvature_and_rising_loss():
    lr, h = 0.1, 1.02 * bound() / 0.1
    (problem,) = unstable_preconditioner(descend([h], lr, start=1e-9, steps=40, loss=1e-3))
    assert problem.check == "adam_unstable_preconditioner"
    assert "102 %" in problem.message
    assert "gradients of layer are" in problem.message
    assert unstable_preconditioner(descend([h], lr, start=1e-9, steps=40, loss=1.0)) == []
    assert unstable_preconditioner(descend([h], lr, start=1e-9, steps=40, loss=1e-3, beta2=0.9)) == []
    assert unstable_preconditioner(descend([0.8 * h], lr, start=1e-9, loss=1e-3)) == []


def test_missing_data_gives_no_warning():
    assert math.isnan(oscillation(descend([1.0], 0.1, steps=12)).sharpness)
    assert oscillation(descend([1.0], 0.1, steps=13)).sharpness > 0
    for still in (descend([1.0], 0.0), descend([0.0], 0.1)):
        assert math.isnan(oscillation(still).sharpness)
        assert unstable_preconditioner(still) == []
        assert bimodal_updates(still) == []
    for loss in (math.nan, 0.0):
        at_the_bound = descend([bound() / 0.1], 0.1, start=1e-9, loss=loss)
        assert math.isnan(oscillation(at_the_bound).height)
        assert unstable_preconditioner(at_the_bound) == []


def adam_on_constant_signs(scale, eps, noise):
    """Adam's moments for gradients of two signs, with noise that differs between steps."""
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


def test_bimodal_updates_near_eps_are_reported():
    eps = 1e-8
    sick, noisy = (adam_on_constant_signs(3 * eps, eps, noise) for noise in (0.0, 1.0))
    (problem,) = bimodal_updates(join({"first": sick, "second": noisy}))
    assert problem.where == "first"
    assert bimodal_updates(adam_on_constant_signs(1.0, eps, noise=0.0)) == []
