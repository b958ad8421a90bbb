import math
from typing import Any

import numpy as np
import pytest
import torch
from mml_tasks import ForceRegressionTask
from mml_tasks.testing import ToyEncoder
from torch import nn

NORMALIZE = {"energy_per_atom_mean": -3.0, "energy_per_atom_std": 1.7}


def make_task(**kwargs: Any) -> ForceRegressionTask:
    torch.manual_seed(0)
    return ForceRegressionTask(ToyEncoder(), **{"normalize_kwargs": NORMALIZE, **kwargs})


def loss(task: ForceRegressionTask, batch: dict[str, Any]) -> float:
    return task.training_step(batch, 0).item()


def test_the_loss_is_the_normalised_error_per_atom_plus_that_of_the_components(batch):
    task = make_task().double()
    outputs, targets, natoms = task(batch), batch["targets"], batch["graph"].natoms.view(-1, 1)
    energy = ((outputs["energy"] - targets["energy"]) / natoms / 1.7).square().mean()
    force = ((outputs["force"] - targets["force"]) / 1.7).square().mean()
    assert loss(task, batch) == pytest.approx((energy + force).item(), rel=1e-6)


def test_other_losses_see_the_same_values(batch):
    task = make_task(loss_func={"energy": "HuberLoss", "force": nn.L1Loss()}).double()
    outputs, targets, natoms = task(batch), batch["targets"], batch["graph"].natoms.view(-1, 1)
    energy = nn.functional.huber_loss(outputs["energy"] / natoms / 1.7, targets["energy"] / natoms / 1.7)
    force = (outputs["force"] - targets["force"]).abs().mean() / 1.7
    assert loss(task, batch) == pytest.approx((energy + force).item(), rel=1e-6)


def test_doubling_a_weight_doubles_its_term_only(batch):
    base, parts = make_task().double(), {}
    for key in ("energy", "force"):
        parts[key] = loss(make_task(task_loss_scaling={"energy": 0, "force": 0} | {key: 1}).double(), batch)
    assert loss(base, batch) == pytest.approx(sum(parts.values()))
    doubled = make_task(task_loss_scaling={"force": 2.0}).double()
    assert loss(doubled, batch) == pytest.approx(parts["energy"] + 2 * parts["force"])


def test_the_weights_are_live_and_checked_at_every_step(batch):
    task = make_task(task_loss_scaling={"energy": 0.0}).double()
    before = loss(task, batch)
    task.task_loss_scaling["force"] = 10.0
    assert loss(task, batch) == pytest.approx(10 * before)
    task.task_loss_scaling["force"] = math.nan
    with pytest.raises(ValueError, match=r"task_loss_scaling\['force'\] must be finite"):
        loss(task, batch)


def test_a_loss_that_is_no_number_is_refused(batch):
    with pytest.raises(
        ValueError, match=r"loss of target 'force' has reduction=\"none\", but a loss must be"
    ):
        make_task(loss_func={"force": nn.L1Loss(reduction="none")})
    with pytest.raises(
        ValueError, match=r"target 'force': the loss has shape \[16, 3\]: it must be one number"
    ):
        loss(make_task(loss_func={"force": Difference}).double(), batch)


class Difference(nn.Module):
    def forward(self, output, target):
        return output - target


def test_logged_errors_are_physical_unweighted_and_exact_over_an_uneven_epoch(data, make_trainer):
    task = make_task(task_loss_scaling={"force": 100.0}, compute_stress=True)
    metrics = make_trainer().test(task, data, verbose=False)[0]
    rows: dict[str, list[np.ndarray]] = {}
    sizes = []
    for batch in data.loader():
        outputs, natoms = task(batch), batch["graph"].natoms.view(-1, 1)
        for key in ("energy", "force", "stress"):
            error = (outputs[key] - batch["targets"][key]).detach()
            rows.setdefault(key, []).append(error.numpy().astype(np.float64).ravel())
            if key == "energy":
                rows.setdefault("energy_per_atom", []).append((error / natoms).numpy().ravel())
        sizes.append(len(natoms))
    errors = {key: np.concatenate(value) for key, value in rows.items()}
    expected = {"test_energy_per_atom_mae": np.abs(errors["energy_per_atom"]).mean()}
    for key in ("energy", "force", "stress"):
        expected[f"test_{key}_mae"] = np.abs(errors[key]).mean()
        expected[f"test_{key}_rmse"] = np.sqrt((errors[key] ** 2).mean())
    terms = {
        "energy": (errors["energy_per_atom"] / 1.7) ** 2,
        "force": 100.0 * (errors["force"] / 1.7) ** 2,
        "stress": errors["stress"] ** 2,
    }
    expected["test_loss"] = sum(term.mean() for term in terms.values())
    assert sizes == [4, 4, 2]
    assert metrics == pytest.approx(expected, rel=1e-5)


def test_training_logs_the_mean_over_structures_and_atoms_whatever_the_batches(
    data, make_trainer, collate_samples
):
    task, trainer = make_task(lr=0.0, task_loss_scaling={"force": 10.0}), make_trainer()
    trainer.fit(task, data.loader(), data.loader())
    whole = collate_samples(data.samples)
    outputs, natoms = task(whole), whole["graph"].natoms.view(-1, 1)
    energy = ((outputs["energy"] - whole["targets"]["energy"]) / natoms / 1.7).square().mean().item()
    force = ((outputs["force"] - whole["targets"]["force"]) / 1.7).square().mean().item()
    logged = {name: value.item() for name, value in trainer.callback_metrics.items()}
    assert logged["train_energy_loss"] == pytest.approx(energy, rel=1e-5)
    assert logged["train_force_loss"] == pytest.approx(force, rel=1e-5)
    assert logged["train_loss"] == pytest.approx(energy + 10 * force, rel=1e-5)
    assert logged["val_loss"] == pytest.approx(energy + 10 * force, rel=1e-5)
    assert logged["train_loss"] == pytest.approx(loss(task, whole), rel=1e-5)


def test_evaluation_returns_physical_units_and_names(batch):
    task = make_task().double()
    result = task.test_step(batch, 0)
    assert set(result) == {"predictions", "targets", "natoms", "sample_id"}
    torch.testing.assert_close(result["predictions"]["energy"], task(batch)["energy"].detach())
    torch.testing.assert_close(result["targets"]["energy"], batch["targets"]["energy"])
    assert result["natoms"].tolist() == [2, 3, 4, 5, 2]
    assert result["sample_id"][4] == "toy/000004"
    assert not any(value.requires_grad for value in result["predictions"].values())


def test_prediction_needs_no_targets(data, make_trainer):
    batches = make_trainer().predict(make_task(), data.unlabelled())
    assert [len(batch["predictions"]["energy"]) for batch in batches] == [4, 4, 2]
    assert set(batches[0]) == {"predictions", "natoms", "sample_id"}
    assert batches[0]["sample_id"][0] == "toy/000000"


@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed"])
def test_other_precisions_train(precision, data, make_trainer):
    trainer = make_trainer(precision=precision)
    if precision == "64-true":
        for graph, _ in data.samples:
            for name in ("pos", "offsets", "cell"):
                setattr(graph, name, getattr(graph, name).double())
    trainer.fit(make_task(), data.loader(), data.loader())
    assert torch.isfinite(trainer.callback_metrics["train_loss"])


def test_infinite_values_stop_the_run(data, make_trainer):
    data.samples[5][1]["force"][1, 2] = math.inf
    with pytest.raises(ValueError, match="'force' is inf in sample 'toy/000001'"):
        make_trainer().fit(make_task(), data)
