"""diagnose: a healthy module passes every check, and each broken one fails its own."""

import time

import pytest
import torch
from mml_diagnostics import diagnose
from mml_diagnostics.checks.moved import moved, random_order, random_rotation, reordered
from pytorch_lightning import LightningModule
from torch import nn

CHECKS = [
    "finite_batch",
    "positions_and_edges",
    "target_outliers",
    "normalized_targets",
    "gradients_reach_parameters",
    "invariant_output",
    "overfits_one_batch",
]


def results(diagnosis):
    return {outcome.check: outcome.result for outcome in diagnosis.outcomes}


def the_problem(diagnosis, check):
    (outcome,) = [o for o in diagnosis.outcomes if o.check == check]
    (problem,) = outcome.problems
    return problem


@pytest.fixture
def batch(samples, make_batch):
    return make_batch(samples[:16])


def test_a_healthy_module_is_well_and_left_as_it_was(make_task, batch):
    task = make_task()
    before = {name: value.clone() for name, value in task.state_dict().items()}
    random = torch.get_rng_state()
    diagnosis = diagnose(task, batch, loader=[batch] * 9)
    assert results(diagnosis) == dict.fromkeys([*CHECKS, "data_loading_share"], "ok")
    assert diagnosis.healthy
    assert all(torch.equal(before[name], value) for name, value in task.state_dict().items())
    assert all(p.grad is None for p in task.parameters())
    assert torch.equal(torch.get_rng_state(), random)
    assert len(str(diagnosis).splitlines()) == 8


def test_gradients_that_do_not_arrive(make_task, batch, task_class):
    class Detached(task_class):
        def embed(self, batch):
            return super().embed(batch).detach()

    diagnosis = diagnose(make_task(Detached), batch)
    assert results(diagnosis)["gradients_reach_parameters"] == "error"
    assert {p.check for p in diagnosis.problems} >= {"missing_gradients", "encoder_without_gradient"}
    assert not diagnosis.healthy


@pytest.mark.parametrize(
    ("how", "function"),
    [("turned", lambda pos: pos - pos.mean(dim=0)), ("shifted", lambda pos: pos.norm(dim=1, keepdim=True))],
)
def test_output_that_depends_on_orientation_or_origin(make_task, batch, task_class, how, function):
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

    diagnosis = diagnose(make_task(Absolute), batch)
    where = {p.where for p in diagnosis.problems if p.check == "invariant_output"}
    assert how in where
    if how == "turned":
        assert "shifted" not in where


def test_a_module_that_cannot_learn_and_one_whose_learning_rate_is_wrong(make_task, batch, task_class):
    class Stuck(task_class):
        def training_step(self, batch, batch_idx):
            return 1.0 + 1e-3 * super().training_step(batch, batch_idx)

    stuck = the_problem(diagnose(make_task(Stuck), batch), "overfits_one_batch")
    assert stuck.severity == "error"
    assert "from 1" in stuck.message

    class Slow(task_class):
        def configure_optimizers(self):
            return [torch.optim.SGD(self.parameters(), lr=1e-9)], []

    slow = the_problem(diagnose(make_task(Slow), batch), "overfits_one_batch")
    assert slow.severity == "warning"
    assert "learning rate" in slow.advice


def test_a_module_that_asks_its_trainer_for_a_schedule_is_tried_with_adam(make_task, batch, task_class):
    class Asks(task_class):
        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=1.0 / self.trainer.estimated_stepping_batches)

        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            self.log("loss", loss)
            return loss

    assert diagnose(make_task(Asks), batch).healthy


def test_targets_that_are_not_normalized_unless_the_module_does_it(make_task, batch, task_class):
    batch["targets"]["energy"] = batch["targets"]["energy"] * 20 - 3000.0
    problem = the_problem(diagnose(make_task(), batch), "normalized_targets")
    assert problem.where == "energy"
    assert "3e+03" in problem.message

    class Normalizes(task_class):
        def __init__(self):
            super().__init__()
            self.normalizers = nn.ModuleDict({"energy": nn.Identity()})

    assert results(diagnose(make_task(Normalizes), batch))["normalized_targets"] == "ok"

    class UsesAnother(task_class):
        task_keys = ("band_gap",)

    assert results(diagnose(make_task(UsesAnother), batch))["normalized_targets"] == "ok"


def test_what_is_wrong_with_the_batch_is_named(make_task, samples, make_batch):
    samples[3]["pos"] = samples[3]["pos"] / 10.0
    samples[5]["targets"]["energy"].fill_(torch.nan)
    diagnosis = diagnose(make_task(), make_batch(samples[:16]))
    assert {p.where for p in diagnosis.problems if p.check == "finite_batch"} == {"sample test/000005"}
    assert "sample test/000003" in {p.where for p in diagnosis.problems if p.check == "fractional_positions"}
    assert results(diagnosis)["gradients_reach_parameters"] == "error"
    assert "sample test/000005" in str(diagnosis)
    assert max(map(len, str(diagnosis).splitlines())) <= 80


def test_waiting_for_data(make_task, samples, make_batch, batch):
    def slow():
        for _ in range(4):
            time.sleep(0.1)  # a step takes a millisecond or two
            yield batch

    problem = the_problem(diagnose(make_task(), batch, loader=slow(), steps=1), "data_loading_share")
    assert "spent waiting for data" in problem.message
    outcome = diagnose(make_task(), batch, loader=[batch], steps=1).outcomes[-1]
    assert (outcome.result, outcome.note) == ("skipped", "The loader has fewer than two batches.")


def test_any_module_is_fine_and_one_that_raises_is_said():
    class Plain(LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 1)

        def training_step(self, batch, batch_idx):
            return nn.functional.mse_loss(self.layer(batch[0]), batch[1])

        def configure_optimizers(self):
            return {"optimizer": torch.optim.SGD(self.parameters(), lr=0.1)}

    torch.manual_seed(0)
    x = torch.randn(16, 2)
    diagnosis = diagnose(Plain(), [x, x.sum(dim=1, keepdim=True)])
    assert {name for name, result in results(diagnosis).items() if result == "skipped"} == {
        "positions_and_edges",
        "target_outliers",
        "normalized_targets",
        "invariant_output",
    }
    assert diagnosis.healthy
    broken = diagnose(Plain(), [x[:, :1], x])
    assert results(broken)["overfits_one_batch"] == "failed"
    assert "RuntimeError: " in str(broken)
    assert not broken.healthy

    class Manual(Plain):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False

    assert results(diagnose(Manual(), [x, x]))["overfits_one_batch"] == "skipped"
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        diagnose(Plain(), [x, x], steps=0)
    with pytest.raises(TypeError, match="with a training_step, got Linear"):
        diagnose(nn.Linear(1, 1), [x, x])


def test_moved_keeps_distances_and_the_batch(batch):
    rotation = random_rotation(3)
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(3, dtype=torch.float64))
    assert torch.linalg.det(rotation) == pytest.approx(1.0)
    before = batch["pos"].clone()
    other = moved(batch, rotation, torch.tensor([1.0, 2.0, 3.0]))
    assert torch.equal(batch["pos"], before)
    torch.testing.assert_close(torch.pdist(other["pos"]), torch.pdist(before), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(other["pos"], before)
    torch.testing.assert_close(other["cell"][0] @ other["cell"][0].T, 100 * torch.eye(3))


def test_output_that_depends_on_the_order_of_atoms(make_task, batch, task_class):
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

    (problem,) = [p for p in diagnose(make_task(FirstAtom), batch).problems if p.check == "invariant_output"]
    assert problem.where == "given in another order of atoms"


def test_reordered_atoms_have_the_same_edges(batch):
    order = random_order(batch["batch"])
    other = reordered(batch, order)
    assert not torch.equal(order, torch.arange(len(order)))
    assert torch.equal(other["batch"], batch["batch"])
    assert torch.equal(other["pos"], batch["pos"][order])
    assert torch.equal(other["atomic_numbers"], batch["atomic_numbers"][order])
    assert torch.equal(other["offsets"], batch["offsets"])
    for before, after in zip(batch["edge_index"], other["edge_index"], strict=True):
        assert torch.equal(batch["pos"][before], other["pos"][after])
