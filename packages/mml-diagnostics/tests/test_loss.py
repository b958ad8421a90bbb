"""Checks of the loss history."""

import math

from hypothesis import given
from hypothesis import strategies as st
from mml_diagnostics.checks.loss import loss_not_falling


@given(st.floats(0.5, 0.99), st.integers(1, 60), st.floats(1e-3, 1e3))
def test_falling_loss_is_healthy(factor, length, start):
    assert loss_not_falling([start * factor**i for i in range(length)]) == []
    assert loss_not_falling([-start / factor**i for i in range(length)]) == []  # losses may be negative


def test_flat_loss_is_warned_and_plateau_is_information():
    stuck = [1.0, *[1.0 + 0.01 * (-1) ** i for i in range(12)]]
    assert [p.severity for p in loss_not_falling(stuck)] == ["warning"]
    assert [p.severity for p in loss_not_falling([1.0, 0.5, 0.1, *[0.1] * 10])] == ["info"]
    assert [p.severity for p in loss_not_falling([1.0, *[float(i) for i in range(2, 13)]])] == ["warning"]


def test_check_waits_for_enough_losses():
    assert loss_not_falling([1.0] * 10) == []
    assert len(loss_not_falling([1.0] * 11)) == 1
    assert len(loss_not_falling([1.0] * 4, last=3)) == 1
    assert loss_not_falling([]) == []


def test_non_finite_loss_is_reported_once():
    (problem,) = loss_not_falling([1.0, math.nan])
    assert (problem.check, problem.severity) == ("loss_not_finite", "error")
    assert loss_not_falling([1.0, math.inf, 0.5]) == []
