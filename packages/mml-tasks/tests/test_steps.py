import math
from typing import Any

import numpy as np
import pytest
import torch
from mml_tasks import AtomWeightedMSE, ConditionalHuberLoss, ForceRegressionTask
from mml_tasks.testing import ToyEncoder
from torch import nn

NORMALIZE = {"energy_per_atom_mean": -3.0, "energy_per_atom_std": 1.7}


def make_task(**kwargs: Any) -> ForceRegressionTask:
    torch.manual_seed(0)
    return ForceRegressionTask(ToyEncoder(), **{"normalize_kwargs": NORMALIZE, **kwargs})


def loss(task: ForceRegressionTask, batch: dict[str, Any]) -> float:
    return task.training_step(batch, 0).item()


def test_loss_is_sum_of_normalized_errors(batch):
    task = make_task().double()
    outputs, targets, natoms = task(batch), batch["targets"], batch["graph"].natoms.view(-1, 1)
    energy = ((outputs["energy"] - targets["energy"]) / natoms / 1.7).square().mean()
    force = ((outputs["force"] - targets["force"]) / 1.7).square().mean()
    assert loss(task, batch) == pytest.approx((energy + force).item(), rel=1e-6)


def test_other_losses_receive_same_values(batch):
    task = make_task(loss_func={"energy": "HuberLoss", "force": nn.L1Loss()}).double()
    outputs, targets, natoms = task(batch), batch["targets"], batch["graph"].natoms.view(-1, 1)
    energy = nn.functional.huber_loss(outputs["energy"] / natoms / 1.7, targets["energy"] / natoms / 1.7)
    force = (outputs["force"] - targets["force"]).abs().mean() / 1.7
    assert loss(task, batch) == pytest.approx((energy + force).item(), rel=1e-6)


def test_doubled_weight_doubles_own_term(batch):
    base, parts = make_task().double(), {}
    for key in ("energy", "force"):
        parts[key] = loss(make_task(task_loss_scaling={"energy": 0, "force": 0} | {key: 1}).double(), batch)
    assert loss(base, batch) == pytest.approx(sum(parts.values()))
    doubled = make_task(task_loss_scaling={"force": 2.0}).double()
    assert loss(doubled, batch) == pytest.approx(parts["energy"] + 2 * parts["force"])


def test_per_atom_losses_receive_totals(batch):
    expected = loss(make_task().double(), batch)
    for name in ("AtomWeightedMSE", "mml_tasks.AtomWeightedMSE", AtomWeightedMSE()):
        assert loss(make_task(loss_func={"energy": name}).double(), batch) == pytest.approx(expected)


def test_loss_thresholds_are_physical(batch):
    lengths = batch["targets"]["force"].norm(dim=1)
    middle = lengths.median().item() + 1e-6
    task = make_task(task_keys=["force"], loss_func=ConditionalHuberLoss(0.2, [middle], [1.0, 0.1])).double()
    error = ((task(batch)["force"] - batch["targets"]["force"]) / 1.7).abs()
    delta = torch.where(lengths < middle, 0.2, 0.02).view(-1, 1)
    expected = torch.where(error <= delta, error**2 / 2, delta * (error - delta / 2)).mean()
    assert loss(task, batch) == pytest.approx(expected.item(), rel=1e-5)


def test_changed_weights_are_checked(batch):
    task = make_task(task_loss_scaling={"energy": 0.0}).double()
    before = loss(task, batch)
    task.task_loss_scaling["force"] = 10.0
    assert loss(task, batch) == pytest.approx(10 * before)
    task.task_loss_scaling["force"] = math.nan
    with pytest.raises(ValueError, match=r"task_loss_scaling\['force'\] must be finite"):
        loss(task, batch)


def test_invalid_loss_shape_is_refused(batch):
    with pytest.raises(
        ValueError, match=r"loss of target 'force' has reduction=\"none\", but its result must be a scalar"
    ):
        make_task(loss_func={"force": nn.L1Loss(reduction="none")})
    with pytest.raises(ValueError, match=r"target 'force': the loss has shape \[16, 3\], expected a scalar"):
        loss(make_task(loss_func={"force": Difference}).double(), batch)


class Difference(nn.Module):
    def forward(self, output, target):
        return output - target


def test_logged_errors_are_physical_and_exact(data, make_trainer):
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


def test_train_loss_covers_all_labels(data, make_trainer, collate_samples):
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


def test_evaluation_returns_physical_units(batch):
    task = make_task().double()
    result = task.test_step(batch, 0)
    assert set(result) == {"predictions", "targets", "natoms", "sample_id"}
    torch.testing.assert_close(result["predictions"]["energy"], task(batch)["energy"].detach())
    torch.testing.assert_close(result["targets"]["energy"], batch["targets"]["energy"])
    assert result["natoms"].tolist() == [2, 3, 4, 5, 2]
    assert result["sample_id"][4] == "toy/000004"
    assert not any(value.requires_grad for value in result["predictions"].values())


def test_prediction_needs_no_targets(data, make_trainer):
    batches = make_trainer().predict(make_task(), data.unlabeled())
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


def test_infinite_labels_are_refused(data, make_trainer):
    data.samples[5][1]["force"][1, 2] = math.inf
    with pytest.raises(ValueError, match="'force' is inf in sample 'toy/000001'"):
        make_trainer().fit(make_task(), data)


# ---------------------------------------------------------------- missing labels


def test_missing_labels_are_excluded_and_counted(data, make_trainer, collate_samples):
    """The result equals that of the samples with labels."""
    for index in (0, 1, 2, 3, 7):  # the whole first batch
        data.samples[index][1]["energy"].fill_(math.nan)
    data.samples[9][1]["force"][0, 1] = math.nan
    task, trainer = make_task(lr=0.0), make_trainer()
    trainer.fit(task, data.loader(), data.loader())
    logged = {key: value.item() for key, value in trainer.callback_metrics.items()}
    assert logged["train_energy_missing"] == logged["val_energy_missing"] == 5
    assert logged["train_force_missing"] == 1
    labeled = collate_samples([data.samples[index] for index in (4, 5, 6, 8, 9)])
    natoms = labeled["graph"].natoms.view(-1, 1)
    error = (task(labeled)["energy"] - labeled["targets"]["energy"]).detach()
    assert logged["val_energy_mae"] == pytest.approx(error.abs().mean().item(), rel=1e-5)
    assert logged["val_energy_per_atom_mae"] == pytest.approx((error / natoms).abs().mean().item(), rel=1e-5)
    energy = (error / natoms / 1.7).square().mean().item()
    assert logged["train_energy_loss"] == pytest.approx(energy, rel=1e-5)
    whole = collate_samples(data.samples)
    error = (task(whole)["force"] - whole["targets"]["force"]).detach()
    known = error[~error.isnan()]
    assert len(known) == error.numel() - 1
    assert logged["val_force_rmse"] == pytest.approx(known.square().mean().sqrt().item(), rel=1e-5)
    assert logged["val_loss"] == pytest.approx(energy + (known / 1.7).square().mean().item(), rel=1e-5)


def test_unlabeled_batch_has_no_gradient(batch):
    batch["targets"]["energy"].fill_(math.nan)
    batch["targets"]["force"].fill_(math.nan)
    task = make_task().double()
    total = task.training_step(batch, 0)
    total.backward()
    assert total.item() == 0.0
    for parameter in task.parameters():
        assert parameter.grad is not None
        assert torch.equal(parameter.grad, torch.zeros_like(parameter))


def test_complete_labels_log_no_count(data, make_trainer):
    trainer = make_trainer()
    trainer.fit(make_task(), data)
    assert not [name for name in trainer.callback_metrics if "missing" in name]


def test_unlabeled_target_is_refused(data, make_trainer):
    for _, targets in data.samples:
        targets["force"].fill_(math.nan)
    with pytest.raises(ValueError, match=r"'force' has no label in any of the 10 structures of this train"):
        make_trainer().fit(make_task(), data.loader(), data.loader())
    statistics = data.target_statistics()
    statistics["force"] = {"count": 0, "missing": 99}
    data.target_statistics = lambda: statistics
    with pytest.raises(ValueError, match="'force' is missing in every sample of the training data"):
        make_trainer().fit(make_task(), data)


def test_limited_epoch_accepts_unlabeled_target(data, make_trainer, caplog):
    for _, targets in data.samples[:4]:
        targets["energy"].fill_(math.nan)
    make_trainer(limit_train_batches=1).fit(make_task(), data.loader(), data.loader())
    assert "'energy' has no label in any of the 4 structures of this train epoch" in caplog.text


@pytest.mark.parametrize("weight", [0.0, 1.0, 1000.0])
def test_weights_apply_to_losses_only(weight, data, make_trainer):
    """Metrics, predictions and targets do not depend on weights and scales."""
    results, reports = [], []
    for kwargs in ({}, {"task_loss_scaling": {"force": weight, "energy": 7.0}}):
        task, trainer = make_task(**kwargs), make_trainer()
        results.append(trainer.test(task, data, verbose=False)[0])
        reports.append(task.test_step(next(iter(data.loader())), 0))
    errors = [{k: v for k, v in result.items() if k != "test_loss"} for result in results]
    assert errors[0] == errors[1]
    assert results[0]["test_loss"] != results[1]["test_loss"]
    for kind in ("predictions", "targets"):
        for key, value in reports[0][kind].items():
            assert torch.equal(value, reports[1][kind][key])


def test_weight_may_be_learned(batch):
    task = make_task().double()
    weight = torch.tensor(2.0, requires_grad=True)
    task.task_loss_scaling["force"] = weight  # type: ignore[assignment]
    task.training_step(batch, 0).backward()
    assert weight.grad is not None
    assert weight.grad.item() > 0


def test_unknown_weights_are_refused(batch):
    task = make_task().double()
    task.task_loss_scaling["forces"] = 1.0
    with pytest.raises(ValueError, match=r"unknown target 'forces', expected one of \['energy', 'force'\]"):
        loss(task, batch)


def test_weights_default_to_one(batch):
    task = make_task().double()
    expected = loss(task, batch)
    task.task_loss_scaling.clear()
    assert loss(task, batch) == expected
