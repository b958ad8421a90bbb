from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mml_models.layers.activations import ShiftedSoftplus, SiLU, activation_class
from torch import nn


def derivatives(function, x):
    x = x.clone().requires_grad_(True)
    (first,) = torch.autograd.grad(function(x).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sin().sum(), x, create_graph=True)
    (alone,) = torch.autograd.grad(first.sin().sum(), x, retain_graph=True)
    (third,) = torch.autograd.grad(second.sin().sum(), x)
    return [value.detach() for value in (function(x), first, second, third, alone)]


def shifted_softplus(x):
    return torch.logaddexp(x, torch.zeros_like(x)) - math.log(2)


OURS = {"silu": (SiLU(), nn.SiLU()), "shifted softplus": (ShiftedSoftplus(), shifted_softplus)}


@given(st.sampled_from(sorted(OURS)), st.lists(st.floats(-50, 50), min_size=1, max_size=5))
def test_derivatives_equal_torch(name, numbers):
    ours, reference = OURS[name]
    x = torch.tensor(numbers, dtype=torch.float64)
    for found, expected in zip(derivatives(ours, x), derivatives(reference, x), strict=True):
        # torch's softplus is linear above 20, which is right to 2e-9.
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=3e-9)


@pytest.mark.parametrize("activation", [SiLU(), ShiftedSoftplus()])
def test_activations_pass_gradcheck(activation):
    x = torch.linspace(-4, 4, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(activation, x)
    assert torch.autograd.gradgradcheck(activation, x)


@pytest.mark.parametrize("name", ["GELU", "Mish", "SiLU", "Softplus", "Tanh"])
def test_second_derivatives_are_continuous(name):
    step = torch.tensor([-1e-6, 1e-6], dtype=torch.float64)
    for value in derivatives(activation_class(name)(), step):
        assert abs(float(value[0] - value[1])) < 1e-5


def test_activation_with_kink_raises():
    with pytest.raises(ValueError, match="activation must be one of GELU, Mish, SiLU, Softplus, Tanh"):
        activation_class("ReLU")
