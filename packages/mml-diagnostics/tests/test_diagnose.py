"""`diagnose` accepts a working module and reports each defect of a batch or a module."""

import pytest
import torch
from mml_diagnostics import diagnose
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


def test_healthy_module_is_unchanged(make_task, batch):
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


def test_detached_encoder_is_reported(make_task, batch, task_class):
    class Detached(task_class):
        def embed(self, batch):
            return super().embed(batch).detach()

    diagnosis = diagnose(make_task(Detached), batch)
    assert results(diagnosis)["gradients_reach_parameters"] == "error"
    assert {p.check for p in diagnosis.problems} >= {"missing_gradients", "encoder_without_gradient"}
    assert not diagnosis.healthy


def test_module_that_needs_trainer_is_tried_with_adam(make_task, batch, task_class):
    class Asks(task_class):
        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=1.0 / self.trainer.estimated_stepping_batches)

        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            self.log("loss", loss)
            return loss

    assert diagnose(make_task(Asks), batch).healthy


def test_bad_samples_are_named(make_task, samples, make_batch):
    samples[3]["pos"] = samples[3]["pos"] / 10.0
    samples[5]["targets"]["energy"].fill_(torch.nan)
    diagnosis = diagnose(make_task(), make_batch(samples[:16]))
    assert {p.where for p in diagnosis.problems if p.check == "finite_batch"} == {"sample 'test/000005'"}
    assert "sample 'test/000003'" in {
        p.where for p in diagnosis.problems if p.check == "fractional_positions"
    }
    assert results(diagnosis)["gradients_reach_parameters"] == "error"
    assert "sample 'test/000005'" in str(diagnosis)
    assert max(map(len, str(diagnosis).splitlines())) <= 80


def test_masked_label_is_information(make_task, samples, make_batch):
    samples[5]["targets"]["energy"].fill_(torch.nan)
    module = make_task()
    module.missing_labels = True
    problems = [p for p in diagnose(module, make_batch(samples[:16])).problems if p.check == "finite_batch"]
    assert [(p.severity, p.where) for p in problems] == [("info", "energy")]
    assert "1 of 16 rows of target energy lack a label" in problems[0].message


def test_plain_module_skips_checks_and_errors_fail_them():
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
