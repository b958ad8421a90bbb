"""Checks of gradients."""

import pytest
import torch
from mml_diagnostics.checks.gradients import (
    dead_units,
    encoder_gradient,
    listed,
    missing_gradients,
    norms_of_gradients,
    small_gradients,
)
from mml_diagnostics.checks.runner import NotApplicableError
from torch import nn


@pytest.fixture
def parameters():
    module = nn.ModuleDict({"encoder": nn.Linear(2, 2), "head": nn.Linear(2, 1)})
    module["head"](module["encoder"](torch.ones(1, 2))).sum().backward()
    return dict(module.named_parameters())


def encoder_of(parameters):
    return {name: p for name, p in parameters.items() if name.startswith("encoder")}


def test_healthy_gradients_give_no_problem(parameters):
    norms = norms_of_gradients(parameters)
    assert norms == pytest.approx({name: float(p.grad.norm()) for name, p in parameters.items()})
    assert missing_gradients(parameters) == []
    assert encoder_gradient(encoder_of(parameters), norms) == []
    assert small_gradients(norms, 1e-3) == []


def test_missing_gradients_are_named(parameters):
    parameters["head.bias"].grad = None
    assert [p.where for p in missing_gradients(parameters)] == ["head.bias"]
    parameters["head.bias"].requires_grad_(False)
    assert missing_gradients(parameters) == []


@pytest.mark.parametrize("kind", ["none", "zero"])
def test_encoder_without_gradient_is_reported(parameters, kind):
    for p in encoder_of(parameters).values():
        p.grad = None if kind == "none" else torch.zeros_like(p)
    (problem,) = encoder_gradient(encoder_of(parameters), norms_of_gradients(parameters))
    assert (problem.check, problem.severity) == ("encoder_without_gradient", "error")


def test_absent_gradients_do_not_blame_encoder(parameters):
    for p in parameters.values():
        p.grad.zero_()
    assert encoder_gradient(encoder_of(parameters), norms_of_gradients(parameters)) == []


def test_frozen_encoder_is_information(parameters):
    for p in encoder_of(parameters).values():
        p.requires_grad_(False).grad = None
    (problem,) = encoder_gradient(encoder_of(parameters), norms_of_gradients(parameters))
    assert (problem.check, problem.severity) == ("encoder_frozen", "info")


def test_encoder_without_parameters_is_accepted():
    with pytest.raises(NotApplicableError, match="does not have parameters"):
        encoder_gradient({}, {})


def test_small_gradients_are_not_missing():
    (problem,) = small_gradients({"a": 1e-5, "b": 0.0, "c": 1.0}, 1e-3)
    assert "1 of 3 parameters" in problem.message
    assert problem.message.endswith("0.001: a.")
    assert small_gradients({"a": 1e-5}, 0.0) == []


def test_long_lists_are_shortened():
    assert listed(["a", "b"], shown=2) == "a, b"
    assert listed(["a", "b", "c", "d"], shown=2) == "a, b and 2 more"


def with_gradients(layer, x):
    module = nn.Sequential(layer, nn.ReLU(), nn.Linear(8, 1))
    module(x).sum().backward()
    return module


def test_dead_units_are_counted():
    torch.manual_seed(0)
    x = torch.randn(64, 3)
    layer = nn.Linear(3, 8)
    layer.bias.data.zero_()
    assert dead_units(with_gradients(layer, x)) == []
    layer.bias.data[:7] = -100.0
    layer.weight.grad = None
    (problem,) = dead_units(with_gradients(layer, x))
    assert (problem.where, problem.patience) == ("0", 3)
    assert "7 of 8 units" in problem.message
    assert dead_units(with_gradients(layer, x), max_share=0.9) == []


def test_layer_without_gradient_is_not_dead():
    layer = nn.Linear(3, 8)
    layer.bias.data.fill_(-100.0)
    assert dead_units(with_gradients(layer, torch.randn(64, 3))) == []
    assert dead_units(nn.Linear(3, 8)) == []
    table = nn.Embedding(10, 8)  # rows of elements that are not in the batch are no units
    table(torch.tensor([1])).sum().backward()
    assert dead_units(table) == []
