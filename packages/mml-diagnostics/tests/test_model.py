"""Checks of a module and one batch: each defect is reported by its own check."""

import time

import pytest
import torch
from mml_diagnostics.checks.model import (
    data_loading_share,
    invariant_output,
    loss_of,
    normalized_targets,
    overfits_one_batch,
)
from mml_diagnostics.checks.runner import NotApplicableError
from torch import nn


@pytest.fixture
def batch(samples, make_batch):
    return make_batch(samples[:16])


def test_loss_of_reads_every_return_type(make_task, batch, task_class):
    expected = loss_of(make_task(), batch)

    class ReturnsMapping(task_class):
        def training_step(self, batch, batch_idx):
            return {"loss": super().training_step(batch, batch_idx)}

    assert torch.equal(loss_of(make_task(ReturnsMapping), batch), expected)

    class ReturnsNumber(task_class):
        def training_step(self, batch, batch_idx):
            return float(super().training_step(batch, batch_idx).detach())

    with pytest.raises(NotApplicableError, match="does not return a loss that depends on parameters"):
        loss_of(make_task(ReturnsNumber), batch)
    manual = make_task()
    manual.automatic_optimization = False
    with pytest.raises(NotApplicableError, match="manual optimization"):
        loss_of(manual, batch)


@pytest.mark.parametrize(
    ("how", "function"),
    [("turned", lambda pos: pos - pos.mean(dim=0)), ("shifted", lambda pos: pos.norm(dim=1, keepdim=True))],
)
def test_dependence_on_position_is_reported(make_task, batch, task_class, how, function):
    class Absolute(task_class):
        def __init__(self):
            super().__init__()
            inner = self.encoder.forward
            columns = function(torch.zeros(2, 3)).shape[1]

            def forward(batch):
                output = inner(batch)
                output.system_embedding = output.system_embedding + 0.0
                for row in range(len(batch["natoms"])):
                    mine = function(batch["pos"][batch["batch"] == row])
                    output.system_embedding[row, :columns] += mine[0]
                return output

            self.encoder.forward = forward

    where = {problem.where for problem in invariant_output(make_task(Absolute), batch)}
    assert how in where
    if how == "turned":
        assert "shifted" not in where


def test_dependence_on_atom_order_is_reported(make_task, batch, task_class):
    class FirstAtom(task_class):
        def __init__(self):
            super().__init__()
            inner = self.encoder.forward

            def forward(batch):
                output = inner(batch)
                first = [int((batch["batch"] < row).sum()) for row in range(len(batch["natoms"]))]
                output.system_embedding = output.point_embedding[first]
                return output

            self.encoder.forward = forward

    (problem,) = invariant_output(make_task(FirstAtom), batch)
    assert problem.where == "given in another order of atoms"


def test_learning_rate_and_model_are_distinguished(make_task, batch, task_class):
    class Stuck(task_class):
        def training_step(self, batch, batch_idx):
            return 1.0 + 1e-3 * super().training_step(batch, batch_idx)

    (stuck,) = overfits_one_batch(make_task(Stuck), batch)
    assert stuck.severity == "error"
    assert "from 1" in stuck.message

    class Slow(task_class):
        def configure_optimizers(self):
            return [torch.optim.SGD(self.parameters(), lr=1e-9)], []

    (slow,) = overfits_one_batch(make_task(Slow), batch)
    assert slow.severity == "warning"
    assert "learning rate" in slow.advice


def test_large_targets_are_reported_unless_normalized(make_task, batch, task_class):
    batch["targets"]["energy"] = batch["targets"]["energy"] * 20 - 3000.0
    (problem,) = normalized_targets(make_task(), batch)
    assert problem.where == "energy"
    assert "3e+03" in problem.message

    class Normalizes(task_class):
        def __init__(self):
            super().__init__()
            self.normalizers = nn.ModuleDict({"energy": nn.Identity()})

    assert normalized_targets(make_task(Normalizes), batch) == []

    class UsesAnother(task_class):
        task_keys = ("band_gap",)

    assert normalized_targets(make_task(UsesAnother), batch) == []


def test_slow_loader_is_reported(make_task, batch):
    def slow():
        for _ in range(4):
            time.sleep(0.1)  # a step takes a millisecond or two
            yield batch

    (problem,) = data_loading_share(make_task(), slow())
    assert "spent waiting for data" in problem.message
    with pytest.raises(NotApplicableError, match="fewer than two batches"):
        data_loading_share(make_task(), [batch])
