from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import pytest
import torch
from mml_tasks.hyperparameters import class_path, import_class, plain
from torch import nn


def test_class_path_round_trips():
    assert import_class(class_path(nn.HuberLoss), "loss_func", nn.Module) is nn.HuberLoss
    assert import_class("HuberLoss", "loss_func", nn.Module, default_module="torch.nn") is nn.HuberLoss


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("Net", "is not an import path. Write it as package.module.Class"),
        ("no_such_package.Net", "cannot be imported: No module named 'no_such_package'"),
        ("torch.nn.Net", "is not a class, because torch.nn has no class 'Net'"),
        ("collections.Counter", "must derive from torch.nn.modules.module.Module"),
    ],
)
def test_invalid_paths_are_refused(path, message):
    with pytest.raises(ValueError, match=f"encoder_class='{path}' {message}"):
        import_class(path, "encoder_class", nn.Module)


def test_plain_replaces_classes():
    value: dict[str, Any] = {"a": (1, 2.0, None), "b": {"act": nn.SiLU}, "c": torch.ones(2).numpy().sum()}
    assert plain(value, "x") == {
        "a": [1, 2.0, None],
        "b": {"act": "torch.nn.modules.activation.SiLU"},
        "c": 2.0,
    }


@dataclass
class Thing:
    pass


@pytest.mark.parametrize("value", [Thing(), nn.Linear(1, 1), Fraction(1, 2)])
def test_objects_are_refused(value):
    with pytest.raises(
        TypeError, match=r"encoder_kwargs\['x'\]\[1\] is a .*, which cannot be saved in a checkpoint"
    ):
        plain({"x": [0, value]}, "encoder_kwargs")
