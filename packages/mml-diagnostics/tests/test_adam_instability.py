"""What is read from Adam's moments, against quadratics whose curvature is known."""

import math

import pytest
import torch
from mml_diagnostics.adam_instability import (
    LayerState,
    adam_update,
    bimodal_updates,
    oscillation,
    stability_bound,
    unstable_preconditioner,
)
from mml_diagnostics.parameter_sample import SeriesBuffer


def descend(curvature, lr, steps=60, start=1.0, beta1=0.9, noise=0.0, v=1.0, drift=0.0):
    """Adam with v held fixed on sum(curvature x^2 / 2): a system whose bound is exact."""
    generator = torch.Generator().manual_seed(0)
    h = torch.as_tensor(curvature, dtype=torch.float64)
    x = torch.full_like(h, start)
    m = torch.zeros_like(h)
    rows = {kind: SeriesBuffer(100, len(h)) for kind in "gpu"}
    for _ in range(steps):
        g = h * x + noise * torch.randn(len(h), generator=generator, dtype=torch.float64) + drift
        for kind, value in zip("gpu", (g, x, m / math.sqrt(v)), strict=True):
            rows[kind].next_row.copy_(value)
            rows[kind].advance()
        m = beta1 * m + (1 - beta1) * g
        x = x - lr * m / math.sqrt(v)
    return LayerState(
        rows["g"].rows, rows["p"].rows, rows["u"].rows, torch.full((len(h),), v), lr, 0.0, beta1
    )


@pytest.mark.parametrize("beta1", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("share", [0.9, 1.05, 1.3])
def test_sharpness_of_a_quadratic_and_whether_it_is_stable(beta1, share):
    lr = 0.1
    layer = descend([share * stability_bound(beta1) / lr], lr, beta1=beta1)
    seen = oscillation([layer])
    assert seen.sharpness == pytest.approx(share, rel=1e-2)
    assert (seen.growth > 1) == (share > 1)


def test_an_unstable_direction_is_seen_beside_a_drift_that_is_a_thousand_times_larger():
    lr = 0.1
    calm = descend([0.1] * 50, lr, start=100.0)
    shaking = descend([1.1 * stability_bound(0.9) / lr], lr, start=1e-4)
    seen = oscillation([calm, shaking])
    assert seen.sharpness == pytest.approx(1.1, rel=0.05)
    assert seen.growth > 2


def test_noise_does_not_grow():
    growth = [oscillation([descend([1.0] * 50, 0.01, steps=n, noise=1.0)]).growth for n in range(30, 60)]
    assert max(growth) < 1.5


def test_the_warning_needs_decoupling_and_growth():
    lr, h = 0.1, 1.02 * stability_bound(0.9) / 0.1
    small = descend([h], lr, start=1e-9, steps=40)
    (problem,) = unstable_preconditioner({"layer": small})
    assert problem.check == "adam_unstable_preconditioner"
    assert "least in layer" in problem.message
    coupled = descend([h], lr, start=1.0)  # gradients as large as v
    assert unstable_preconditioner({"layer": coupled}) == []
    stable = descend([h / 2], lr, start=1e-9)
    assert unstable_preconditioner({"layer": stable}) == []
    assert unstable_preconditioner({}) == []


def test_too_few_steps_or_nothing_that_moves():
    assert oscillation([]) is None
    assert oscillation([descend([1.0], 0.1, steps=22)]) is None
    assert oscillation([descend([1.0], 0.1, steps=23)]) is not None
    assert oscillation([descend([1.0], 0.0)]) is None
    assert oscillation([descend([0.0], 0.1)]) is None


def test_decoupling_is_a_ratio_over_elements_that_have_gradients():
    gradients = torch.full((20, 4), 0.1)
    gradients[:, 2:] = 0.0  # rows of an embedding that were not looked up
    layer = LayerState(gradients, gradients, gradients, torch.tensor([1.0, 1.0, 50.0, 0.0]), 0.1, 1e-8, 0.9)
    assert layer.decoupling == pytest.approx(0.01)
    assert math.isnan(LayerState(gradients * 0, gradients, gradients, layer.v, 0.1, 1e-8, 0.9).decoupling)


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
    return LayerState(g, torch.zeros_like(g), u, v, 0.1, eps, 0.9)


def test_bimodal_updates_of_a_layer_near_eps():
    eps = 1e-8
    sick = adam_on_constant_signs(3 * eps, eps, noise=0.0)
    (problem,) = bimodal_updates({"first": sick, "second": adam_on_constant_signs(3 * eps, eps, noise=1.0)})
    assert problem.where == "first"
    assert bimodal_updates({"large": adam_on_constant_signs(1.0, eps, noise=0.0)}) == []
