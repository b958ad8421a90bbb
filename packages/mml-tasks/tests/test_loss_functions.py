import math

import pytest
import torch
from mml_tasks.losses.loss_functions import (
    check_loss_scaling,
    complete_loss_scaling,
    make_losses,
    without_modules,
)
from torch import nn


@pytest.mark.parametrize("loss", ["L1Loss", "torch.nn.L1Loss", nn.L1Loss, nn.L1Loss()])
def test_single_loss_covers_all_targets(loss):
    losses = make_losses(loss, ["energy", "force"], nn.MSELoss)
    assert all(isinstance(losses[key], nn.L1Loss) for key in ("energy", "force"))


def test_unnamed_targets_have_default_loss():
    losses = make_losses({"force": nn.HuberLoss(delta=0.1)}, ["energy", "force"], nn.MSELoss)
    assert isinstance(losses["energy"], nn.MSELoss)
    assert isinstance(losses["force"], nn.HuberLoss)
    assert losses["force"].delta == 0.1


def test_unknown_target_is_refused():
    with pytest.raises(
        ValueError, match=r"unknown targets \['forces'\], expected some of \['energy', 'force'\]"
    ):
        make_losses({"forces": "L1Loss"}, ["energy", "force"], nn.MSELoss)


@pytest.mark.parametrize("loss", [3, torch.nn.functional.mse_loss, dict])
def test_invalid_losses_are_refused(loss):
    with pytest.raises(
        TypeError, match=r"must be a torch\.nn\.Module, its class or its import path, got builtins"
    ):
        make_losses(loss, ["energy"], nn.MSELoss)


def test_hyperparameters_exclude_instances():
    assert without_modules(nn.L1Loss()) is None
    assert without_modules({"a": nn.L1Loss(), "b": "L1Loss"}) == {"b": "L1Loss"}
    assert without_modules("L1Loss") == "L1Loss"


def test_missing_weights_are_one():
    assert complete_loss_scaling({"force": 10}, ["energy", "force"]) == {"energy": 1.0, "force": 10.0}


def test_weights_of_unknown_targets_are_refused():
    with pytest.raises(ValueError, match=r"unknown target 'forces', expected one of \['energy', 'force'\]"):
        complete_loss_scaling({"forces": 1.0}, ["energy", "force"])


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf])
def test_weights_must_be_finite_and_not_negative(weight):
    with pytest.raises(ValueError, match=r"task_loss_scaling\['energy'\] must be finite and not negative"):
        check_loss_scaling({"energy": weight}, ["energy"])
