import logging

import pytest
import torch
from mml_tasks.losses.loss_terms import LossTerms
from mml_tasks.tasks.multitask.multitask_loss import JointLoss
from torch import nn

ONES = {"x": 1.0, "y": 1.0}


def terms(total: float, weight: float) -> LossTerms:
    return LossTerms(torch.tensor(total), torch.tensor(weight))


def make_loss() -> JointLoss:
    joint = JointLoss(nn.ModuleDict())
    joint.build({"a": ["x"], "b": ["x", "y"]})
    return joint


def test_loss_sums_weighted_means():
    joint = make_loss()
    for total in (6.0, 12.0):
        joint.add("val", "a", {"x": terms(total, 3.0)}, {"x": 2.0}, {"x": 0.5})
    joint.add("val", "b", {"x": terms(1.0, 1.0), "y": terms(10.0, 2.0)}, ONES, ONES)
    assert joint.metrics["val_loss"].compute() == 2 * 3 + 1 + 5
    assert joint.metrics["val_weighted_loss"].compute() == 0.5 * 3 + 1 + 5


class Log:
    """Record of the names that are logged."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def log(self, name: str, *args: object, **options: object) -> None:
        self.names.append(name)


@pytest.mark.parametrize(("weight", "names"), [(1.0, ["val_loss"]), (0.5, ["val_loss", "val_weighted_loss"])])
def test_weighted_loss_is_logged_only_if_it_differs(weight, names):
    joint, log = make_loss(), Log()
    joint.add("val", "a", {"x": terms(1.0, 1.0)}, ONES, {"x": weight})
    joint.log(log, "val")
    assert log.names == names


def test_tasks_without_batch_are_named_once(caplog):
    joint = make_loss()
    joint.add("val", "a", {"x": terms(1.0, 1.0)}, ONES, ONES)
    joint.add("val", "b", {}, ONES, ONES)
    with caplog.at_level(logging.WARNING, "mml_tasks"):
        joint.report_left_out("val", sanity_checking=False)
    assert "val_loss does not include b, because no batch" in caplog.text
    caplog.clear()
    joint.report_left_out("val", sanity_checking=True)
    assert not caplog.text
