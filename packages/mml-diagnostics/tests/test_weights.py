"""Checks of weights and their updates."""

import pytest
import torch
from mml_diagnostics.checks.runner import NotApplicableError
from mml_diagnostics.checks.weights import (
    dwarfed_encoder,
    is_decayed,
    learning_rate_zero,
    typical_size,
    update_ratios,
    update_to_weight_ratio,
)


def matrices(size, shape=(8, 8)):
    return {"a.weight": torch.full(shape, size), "a.bias": torch.full(shape[:1], 1e3)}


def test_typical_size_ignores_vectors():
    assert typical_size(matrices(0.25)) == pytest.approx(0.25)
    assert typical_size(matrices(0.25, (100, 3))) == pytest.approx(0.25)
    several = {
        "x": torch.ones(2, 2),
        "y": 3 * torch.ones(9, 9),
        "z": 5 * torch.ones(1, 2),
        "0": torch.zeros(2, 2),
    }
    assert typical_size(several) == pytest.approx(3.0)
    assert typical_size({"bias": torch.ones(3)}) is None


def test_small_encoder_is_dwarfed():
    (problem,) = dwarfed_encoder(matrices(0.01), matrices(0.5, (2, 2)))
    assert "50 times" in problem.message
    assert dwarfed_encoder(matrices(0.5), matrices(0.01)) == []
    assert dwarfed_encoder(matrices(0.1), matrices(0.9)) == []
    with pytest.raises(NotApplicableError, match="do not have weight matrices"):
        dwarfed_encoder({}, matrices(1.0))


def test_update_ratios_match_steps():
    before = {
        "w": 2 * torch.ones(3, 3),
        "still": torch.ones(2, 2),
        "zero": torch.zeros(2, 2),
        "b": torch.ones(2),
    }
    after = {name: w.clone() for name, w in before.items()}
    after["w"] += 0.02
    after["zero"] += 1.0
    after["b"] += 1.0
    assert update_ratios(before, after) == pytest.approx({"w": 0.01}, rel=1e-4)
    assert update_ratios({}, {}) == {}


def test_extreme_ratio_names_layer():
    (problem,) = update_to_weight_ratio({"good": 1e-3, "fast": 0.5})
    assert (problem.where, problem.patience) == ("too large", 2)
    assert "1 of 2 matrices: fast (5.0e-01)" in problem.message
    (problem,) = update_to_weight_ratio({"good": 1e-3, "slow": 1e-7})
    assert problem.where == "too small"
    assert "slow" in problem.message
    assert update_to_weight_ratio({"edge": 1e-5, "other": 1e-1}) == []
    assert [p.where for p in update_to_weight_ratio({"fast": 0.5, "slow": 1e-7}, decayed=True)] == [
        "too large"
    ]
    assert [p.where for p in update_to_weight_ratio({"broken": float("nan")})] == ["too large"]


def test_decayed_parameters_are_recognized():
    assert is_decayed([{"lr": 1e-5, "initial_lr": 1e-3}])
    assert not is_decayed([{"lr": 5e-4, "initial_lr": 1e-3}, {"lr": 1e-9}])


def test_rising_schedule_is_judged_by_peak():
    """OneCycleLR starts at 1/25 of its peak, so its initial rate is not the reference."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1e-3, momentum=0.9)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=100)
    decayed = []
    for _ in range(100):
        decayed.append(is_decayed(optimizer.param_groups))
        optimizer.step()
        if len(decayed) < 100:
            schedule.step()
    assert decayed[0]
    assert not any(decayed[20:75])
    assert all(decayed[90:])


def test_zero_learning_rate_waits_under_schedule():
    problems = learning_rate_zero([{"lr": 0.0}, {"lr": 1e-3}, {"lr": 0.0, "initial_lr": 1.0}, {}])
    assert [(p.where, p.patience) for p in problems] == [("parameter group 0", 1), ("parameter group 2", 2)]
