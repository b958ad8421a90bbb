import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mml_tasks import (
    AtomWeightedL1,
    AtomWeightedMSE,
    BatchQuantileLoss,
    ConditionalHuberLoss,
    L2NormLoss,
)
from torch import nn

seeds = st.integers(0, 10_000)


def vectors(seed: int, rows: int, scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    output, target = torch.randn(2, rows, 3, generator=generator, dtype=torch.float64)
    return output * scale, target * scale


@settings(max_examples=20)
@given(seed=seeds, rows=st.integers(1, 9))
def test_norm_loss_is_mean_length(seed, rows):
    output, target = vectors(seed, rows)
    expected = np.linalg.norm((output - target).numpy(), axis=1).mean()
    assert L2NormLoss()(output, target).item() == pytest.approx(expected)
    rotation, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))
    assert L2NormLoss()(output @ rotation, target @ rotation).item() == pytest.approx(expected)


def test_norm_loss_gradient_is_finite_at_zero():
    output = torch.ones(2, 3, requires_grad=True)
    L2NormLoss()(output, torch.ones(2, 3)).backward()
    assert torch.equal(output.grad, torch.zeros(2, 3))


@settings(max_examples=20)
@given(seed=seeds, structures=st.integers(1, 9))
def test_per_atom_losses_divide_errors(seed, structures):
    generator = torch.Generator().manual_seed(seed)
    output, target = torch.randn(2, structures, 1, generator=generator)
    natoms = torch.randint(1, 20, (structures,), generator=generator)
    errors = ((output - target).squeeze(1) / natoms).numpy()
    assert AtomWeightedMSE()(output, target, natoms).item() == pytest.approx((errors**2).mean(), rel=1e-5)
    assert AtomWeightedL1()(output, target, natoms).item() == pytest.approx(np.abs(errors).mean(), rel=1e-5)
    flat = AtomWeightedMSE()(output.squeeze(1), target.squeeze(1), natoms)
    torch.testing.assert_close(flat, AtomWeightedMSE()(output, target, natoms))


@pytest.mark.parametrize("natoms", [None, torch.tensor([2])])
def test_per_atom_losses_require_natoms(natoms):
    with pytest.raises(ValueError, match=r"AtomWeightedMSE needs natoms.* expected 3 numbers, got"):
        AtomWeightedMSE()(torch.zeros(3, 1), torch.zeros(3, 1), natoms)


def huber(error: float, delta: float) -> float:
    return error**2 / 2 if abs(error) <= delta else delta * (abs(error) - delta / 2)


@given(seed=seeds, rows=st.integers(1, 8), delta=st.floats(0.01, 2.0))
def test_conditional_huber_equals_mace(seed, rows, delta):
    """The expected loss is computed row by row. The reference force in eV/angstrom selects the regime."""
    output, target = vectors(seed, rows, 150.0)
    expected = []
    for predicted, reference in zip(output.tolist(), target.tolist(), strict=True):
        length = math.hypot(*reference)
        factor = 1.0 if length < 100 else 0.7 if length < 200 else 0.4 if length < 300 else 0.1
        expected += [huber(p - r, delta * factor) for p, r in zip(predicted, reference, strict=True)]
    assert ConditionalHuberLoss(delta)(output, target).item() == pytest.approx(np.mean(expected), rel=1e-5)


def test_thresholds_are_physical():
    loss = ConditionalHuberLoss(1.0)
    target = torch.tensor([[99.999, 0, 0], [100.0, 0, 0], [250.0, 0, 0], [300.0, 0, 0]])
    output = target / 10 + torch.tensor([[1000.0, 0, 0]])
    errors = loss.elements(output, target / 10, physical=target)[:, 0]
    torch.testing.assert_close(errors, torch.tensor([huber(1000.0, d) for d in (1.0, 0.7, 0.4, 0.1)]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"delta": 0.0}, "delta must be finite and positive, got 0.0"),
        ({"delta": math.nan}, "delta must be finite"),
        ({"factors": [1.0]}, "factors must be 4 positive numbers"),
        ({"factors": [1.0, 1.0, 1.0, 0.0]}, "factors must be 4 positive numbers"),
        ({"thresholds": [2.0, 1.0, 3.0]}, "thresholds must be positive and ascending"),
    ],
)
def test_invalid_huber_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ConditionalHuberLoss(**arguments)


@given(
    seed=seeds,
    rows=st.integers(1, 30),
    quantiles=st.lists(st.floats(0, 1), min_size=1, max_size=4, unique=True),
    use_norm=st.booleans(),
)
def test_quantile_weights_follow_order(seed, rows, quantiles, use_norm):
    output, target = vectors(seed, rows)
    weights = {quantile: float(index + 1) for index, quantile in enumerate(sorted(quantiles))}
    loss = BatchQuantileLoss(weights, "mse", use_norm=use_norm)
    size = np.linalg.norm(target.numpy(), axis=1, keepdims=True) if use_norm else target.numpy()
    edges = np.quantile(size.astype(np.float32), sorted(quantiles)).astype(np.float32)
    expected = []
    for row in range(rows):
        for column in range(3):
            value = size[row, 0 if use_norm else column]
            if np.abs(value - edges).min() < 1e-5:
                return  # on an edge, rounding decides
            below = [w for edge, w in zip(edges, weights.values(), strict=True) if edge <= value]
            weight = below[-1] if below else 1.0
            expected.append(weight * (output[row, column] - target[row, column]).item() ** 2)
    assert loss(output, target).item() == pytest.approx(np.mean(expected), rel=1e-6)


def test_quantile_loss_accepts_names_and_functions():
    output, target = vectors(0, 5)
    one = {0.0: 1.0}
    expected = nn.functional.huber_loss(output, target, delta=0.3)
    assert torch.equal(BatchQuantileLoss(one, "huber", huber_delta=0.3)(output, target), expected)
    assert torch.equal(BatchQuantileLoss(one, "mae")(output, target), (output - target).abs().mean())
    own = BatchQuantileLoss(one, lambda a, b: (a - b).square())
    assert torch.equal(own(output, target), (output - target).square().mean())
    module = BatchQuantileLoss(one, nn.L1Loss(reduction="none"))
    assert torch.equal(module(output, target), (output - target).abs().mean())
    with pytest.raises(ValueError, match=r"expected shape \[5, 3\], got \[\]"):
        BatchQuantileLoss(one, nn.L1Loss())(output, target)


def test_quantiles_exclude_missing_labels():
    loss = BatchQuantileLoss({0.0: 1.0, 0.5: 0.1}, "mse", use_norm=False)
    target = torch.tensor([1.0, 2.0, 3.0, 4.0, 1000.0])
    known = torch.tensor([True, True, True, True, False])
    errors = loss.elements(target + 1, target, known=known)
    torch.testing.assert_close(errors[:4], torch.tensor([1.0, 1.0, 0.1, 0.1]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"quantile_weights": {}}, "quantiles of quantile_weights must be between 0 and 1"),
        (
            {"quantile_weights": {1.5: 1.0}},
            r"quantiles of quantile_weights must be between 0 and 1, got \[1.5\]",
        ),
        ({"quantile_weights": {0.5: -1.0}}, "finite and not negative"),
        (
            {"quantile_weights": {0.5: 1.0}, "loss_func": "rmse"},
            "a function that returns one number for each element, got 'rmse'",
        ),
        ({"quantile_weights": {0.5: 1.0}, "loss_func": "huber"}, 'must be positive for loss_func="huber"'),
        (
            {"quantile_weights": {0.5: 1.0}, "huber_delta": 1.0},
            'for loss_func="huber" and None otherwise, got 1.0',
        ),
    ],
)
def test_invalid_quantile_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        BatchQuantileLoss(**arguments)
