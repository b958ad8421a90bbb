import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mml_xpu import check

CPU = torch.device("cpu")
numbers = st.floats(-1e3, 1e3).filter(lambda x: abs(x) > 1e-3)


@given(values=st.lists(numbers, min_size=1, max_size=6), factor=st.floats(0.5, 2.0))
def test_difference_is_relative_to_largest_value(values, factor):
    expected = torch.tensor(values, dtype=torch.float64)
    assert check.relative_difference(expected, expected) == 0
    difference = check.relative_difference(expected * factor, expected)
    assert difference == pytest.approx(abs(factor - 1), abs=1e-12)
    assert check.relative_difference(3 * expected * factor, 3 * expected) == pytest.approx(
        difference, abs=1e-12
    )


def test_nan_does_not_agree():
    expected = torch.ones(3)
    difference = check.relative_difference(torch.tensor([1.0, math.nan, 1.0]), expected)
    assert not check.Comparison("a product", difference, 1.0).agrees
    assert not check.Comparison("a product", math.inf, 1.0).agrees


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_wrong_product_is_detected(dtype, monkeypatch):
    right = check.compare_matmul(CPU, dtype, size=64)
    assert right.agrees
    assert right.difference > 0
    multiply = torch.Tensor.__matmul__
    monkeypatch.setattr(
        torch.Tensor, "__matmul__", lambda a, b: multiply(a, b) * (1.1 if a.dtype is dtype else 1)
    )
    assert not check.compare_matmul(CPU, dtype, size=64).agrees


def test_wrong_training_step_is_detected(monkeypatch):
    same = check.compare_training_step(CPU)
    assert same.difference == 0
    half = check.compare_training_step(CPU, autocast=True)
    assert 0 < half.difference <= half.tolerance
    train = check._train
    calls = []

    def wrong_on_the_device(device, autocast):
        calls.append(device)
        return train(device, autocast) * (1.01 if len(calls) == 2 else 1)

    monkeypatch.setattr(check, "_train", wrong_on_the_device)
    assert not check.compare_training_step(CPU).agrees


def test_rate_counts_operations_of_products(monkeypatch):
    ticks = iter(range(1000))
    monkeypatch.setattr(check.time, "perf_counter", lambda: next(ticks) * 0.25)
    rate = check.matmul_rate(CPU, 100, repeats=5)
    assert rate == check.Rate(2 * 100**3 / 0.25 / 1e12, 100, 5)
