"""TrainingHelperCallback in real trainings: it locates each defect and is silent in a healthy run."""

import csv
import json
import logging

import pytest
import torch
from mml_diagnostics import GradientCheckCallback, TrainingHelperCallback
from pytorch_lightning import LightningModule
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from torch import nn


def found(callback, check):
    return [finding for finding in callback.findings if finding.check == check]


def alarms(callback):
    return [finding for finding in callback.findings if finding.severity != "info"]


@pytest.fixture
def fit(samples, make_loader, make_task, make_trainer):
    """Return a function that trains. ``spoil`` modifies the samples or the task first."""

    def run(cls=None, spoil=None, update_freq=2, callback=None, **options):
        callback = callback or TrainingHelperCallback(update_freq=update_freq)
        task = make_task(cls) if cls else make_task()
        if spoil:
            spoil(samples, task)
        make_trainer(callback, **options).fit(task, make_loader(samples))
        return callback

    return run


def test_healthy_training_is_silent(fit, caplog):
    callback = fit(max_epochs=10, update_freq=1)
    assert alarms(callback) == []
    assert [f.check for f in callback.findings if f.check == "skipped_checks"] == []
    assert [r for r in caplog.records if r.name.startswith("mml") and r.levelno >= logging.WARNING] == []
    assert not callback.switched_off


def test_detached_encoder_is_reported(fit, task_class):
    class Detached(task_class):
        def embed(self, batch):
            return super().embed(batch).detach()

    callback = fit(Detached)
    (finding,) = found(callback, "encoder_without_gradient")
    assert (finding.severity, finding.where, finding.count) == ("error", "encoder", 2)
    (missing,) = found(callback, "missing_gradients")
    assert "encoder.embedding.weight" in missing.where


def test_frozen_encoder_is_information(fit):
    callback = fit(spoil=lambda samples, task: task.encoder.requires_grad_(False))
    assert [f.severity for f in found(callback, "encoder_frozen")] == ["info"]
    assert alarms(callback) == []


def test_unused_parameter_is_reported(fit, task_class):
    class Unused(task_class):
        def __init__(self):
            super().__init__()
            self.output_heads["unused"] = nn.Linear(16, 1)

    (finding,) = found(fit(Unused), "missing_gradients")
    assert finding.where == "output_heads.unused.weight, output_heads.unused.bias"


def test_collapsed_and_exploding_embeddings_are_reported(fit):
    def collapse(samples, task):
        task.encoder.embedding.weight.data[:] = task.encoder.embedding.weight.data[0]
        task.encoder.update.weight.data.zero_()
        task.encoder.message.weight.data.zero_()

    where = {f.where for f in found(fit(spoil=collapse, max_steps=1), "collapsed_embeddings")}
    assert where == {"system embedding", "point embedding"}

    def explode(samples, task):
        task.encoder.embedding.weight.data[samples[5]["atomic_numbers"][0]].mul_(1e6)

    (system, point) = found(fit(spoil=explode, max_steps=1), "exploding_embeddings")
    assert (system.where, point.where) == ("system embedding", "point embedding")
    assert "atom" in point.message
    assert "test/0000" in point.message


def test_embeddings_are_ignored_without_hook(fit):
    def explode(samples, task):
        task.encoder.embedding.weight.data.mul_(1e6)

    callback = TrainingHelperCallback(update_freq=1, encoder_hook=False)
    assert found(fit(spoil=explode, callback=callback, max_steps=1), "exploding_embeddings") == []


def test_fractional_positions_are_reported(fit):
    def spoil(samples, task):
        samples[3]["pos"] = samples[3]["pos"] / 10.0

    callback = fit(spoil=spoil, max_steps=1)
    (finding,) = found(callback, "fractional_positions")
    assert finding.where == "sample 'test/000003'"
    assert finding.severity == "error"


def test_target_outlier_is_reported(fit):
    def spoil(samples, task):
        samples[11]["targets"]["energy"].fill_(1e4)

    (finding,) = found(fit(spoil=spoil, max_steps=2, update_freq=1), "target_outliers")
    assert (finding.where, finding.first_step) == ("sample 'test/000011'", 1)


def test_dead_units_name_layer(fit):
    def relu(samples, task):
        task.output_heads["energy"][1] = nn.ReLU()

    def dead(samples, task):
        relu(samples, task)
        task.output_heads["energy"][0].bias.data[:14] = -100.0

    (finding,) = found(fit(spoil=dead, update_freq=1), "dead_units")
    assert (finding.where, finding.first_step) == ("output_heads.energy.0", 2)
    assert found(fit(spoil=relu, update_freq=1), "dead_units") == []


def test_histograms_reach_loggers(samples, make_loader, make_task, make_trainer, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    loggers = [CSVLogger(tmp_path, name="one"), TensorBoardLogger(tmp_path, name="two")]
    task = make_task()
    make_trainer(TrainingHelperCallback(update_freq=3), logger=loggers, log_every_n_steps=1).fit(
        task, make_loader(samples)
    )
    events = EventAccumulator(loggers[1].log_dir, {"histograms": 0}).Reload()
    sizes = {"gradient_norms": 9, "weight_norms": 9, "system_embedding": 8 * 16, "point_embedding": None}
    assert set(events.Tags()["histograms"]) == {f"diagnostics/{name}" for name in sizes}
    for name, size in sizes.items():
        stored = events.Histograms(f"diagnostics/{name}")
        assert [event.step for event in stored] == [0, 3]
        if size:
            assert stored[0].histogram_value.num == size
    largest = max(float(p.detach().norm()) for p in task.parameters())  # after step 3, the last
    with (tmp_path / "one" / "version_0" / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["diagnostics/weight_norms/q100"]]
    assert [row["step"] for row in rows] == ["0", "3"]
    assert float(rows[-1]["diagnostics/weight_norms/q100"]) == pytest.approx(largest, rel=1e-5)


def test_dwarfed_encoder_is_reported(fit):
    def spoil(samples, task):
        for p in task.encoder.parameters():
            p.data.mul_(1e-3)

    assert found(fit(spoil=spoil, max_steps=1), "dwarfed_encoder")[0].where == "output_heads"

    def other_way_round(samples, task):
        for p in task.output_heads.parameters():
            p.data.mul_(1e-3)

    assert found(fit(spoil=other_way_round, max_steps=1), "dwarfed_encoder") == []


@pytest.mark.parametrize(("lr", "where"), [(30.0, "too large"), (1e-9, "too small")])
def test_update_ratio_names_layer(fit, task_class, lr, where):
    class Rate(task_class):
        def __init__(self):
            super().__init__(lr=lr)

    def relu(samples, task):
        task.output_heads["energy"][1] = nn.LeakyReLU()

    callback = fit(Rate, spoil=relu, update_freq=1, max_steps=2)
    assert [f.where for f in found(callback, "update_to_weight_ratio")] == [where]
    assert found(fit(Rate, spoil=relu, update_freq=1, max_steps=1), "update_to_weight_ratio") == []


def test_zero_learning_rate_is_reported(fit, task_class):
    class Zero(task_class):
        def __init__(self):
            super().__init__(lr=0.0)

    assert found(fit(Zero, max_steps=1), "learning_rate_zero")[0].where == "parameter group 0"

    class Scheduled(task_class):
        factors = (0.0, 1.0, 1.0, 1.0)

        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self.factors[min(step, 3)])
            return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    assert found(fit(Scheduled, update_freq=1), "learning_rate_zero") == []

    class Ended(Scheduled):
        factors = (1.0, 1.0, 0.0, 0.0)

    assert found(fit(Ended, update_freq=1), "learning_rate_zero")[0].first_step == 3


def test_one_cycle_schedule_is_accepted(fit, task_class):
    """The schedule starts far below its peak, and its small rates are intended."""

    class OneCycle(task_class):
        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            schedule = torch.optim.lr_scheduler.OneCycleLR(
                optimizer, max_lr=1e-2, total_steps=10_000, div_factor=1e6
            )
            return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    callback = fit(OneCycle, update_freq=1, max_epochs=3)
    assert found(callback, "update_to_weight_ratio") == []


def test_flat_loss_is_reported(fit, task_class):
    class Stuck(task_class):
        def training_step(self, batch, batch_idx):
            return 0.0 * super().training_step(batch, batch_idx) + 1.0

    callback = fit(Stuck, update_freq=1, max_epochs=3)
    (finding,) = found(callback, "loss_not_falling")
    assert finding.severity == "warning"
    assert finding.first_step == 10
    assert callback.loss_history == [1.0] * 12


def test_loss_history_averages_batches(fit, task_class):
    class Counting(task_class):
        calls = 0

        def training_step(self, batch, batch_idx):
            Counting.calls += 1
            return 0.0 * super().training_step(batch, batch_idx) + float(Counting.calls)

    callback = fit(Counting, update_freq=2, max_epochs=2)  # looked at in steps 0, 2, 4, 6
    assert callback.loss_history == [2.0, 4.5, 6.5]


def test_missing_parts_are_reported_once(make_trainer, caplog):
    class Plain(LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 1)

        def training_step(self, batch, batch_idx):
            return nn.functional.mse_loss(self.layer(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.01)

    data = torch.utils.data.TensorDataset(torch.randn(16, 2), torch.randn(16, 1))
    callback = TrainingHelperCallback(update_freq=1)
    make_trainer(callback, max_epochs=2).fit(Plain(), torch.utils.data.DataLoader(data, batch_size=4))
    assert alarms(callback) == []
    assert not callback.switched_off
    skipped = [r.getMessage() for r in caplog.records if "skipped" in r.getMessage()]
    assert len(skipped) == 4
    assert any(
        "the batch does not have positions" in line and "overlapping_atoms" in line for line in skipped
    )
    assert any("the module has no encoder" in line for line in skipped)
    assert any("the batch does not have floating-point targets" in line for line in skipped)
    assert list(callback.param_norm_history) == ["module"]


def test_steps_between_checks_cost_nothing(fit, monkeypatch, task_class):
    transfers, quiet_steps = [], []
    for method in ("item", "tolist", "__bool__", "__float__", "__int__", "cpu", "nonzero", "numpy"):
        original = getattr(torch.Tensor, method)

        def counted(self, *args, _original=original, _method=method, **kwargs):
            transfers.append(_method)
            return _original(self, *args, **kwargs)

        monkeypatch.setattr(torch.Tensor, method, counted)

    class Watch(TrainingHelperCallback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            transfers.clear()
            super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
            self.hooks = len(pl_module.encoder._forward_hooks)
            self.cost = len(transfers)

        def on_before_optimizer_step(self, *args):
            transfers.clear()
            super().on_before_optimizer_step(*args)
            self.cost += len(transfers)

        def on_train_batch_end(self, trainer, pl_module, *args):
            transfers.clear()
            super().on_train_batch_end(trainer, pl_module, *args)
            quiet_steps.append((trainer.global_step - 1, self.hooks, self.cost + len(transfers)))
            assert not pl_module.encoder._forward_hooks

    fit(callback=Watch(update_freq=3))
    active, quiet = (1, True), (0, False)
    assert [(hooks, cost > 0) for _, hooks, cost in quiet_steps] == [active, quiet, quiet, active]


def test_norms_reach_loggers(samples, make_loader, make_task, make_trainer, tmp_path):
    callback = TrainingHelperCallback(update_freq=2)
    loggers = [CSVLogger(tmp_path, name="one"), CSVLogger(tmp_path, name="two")]
    make_trainer(callback, logger=loggers, log_every_n_steps=1).fit(make_task(), make_loader(samples))
    for name in ("one", "two"):
        with (tmp_path / name / "version_0" / "metrics.csv").open() as file:
            rows = [(int(row["step"]), row["diagnostics/encoder_norm"]) for row in csv.DictReader(file)]
        norms = [(step, float(norm)) for step, norm in rows if norm]
        assert norms == callback.param_norm_history["encoder"]
        assert [step for step, _ in norms] == [0, 2]
    assert (tmp_path / "one" / "version_0" / "findings.json").exists()
    silent = TrainingHelperCallback(update_freq=2, record_param_norm_history=False)
    make_trainer(silent).fit(make_task(), make_loader(samples))
    assert silent.param_norm_history == {}


def test_hook_of_uncalled_encoder_is_removed(fit, task_class):
    hooks = []

    class Bypass(task_class):
        def embed(self, batch):
            hooks.append(len(self.encoder._forward_hooks))
            return self.encoder.embedding.weight[:1].expand(len(batch["natoms"]), -1)

    fit(Bypass, update_freq=3)
    assert hooks == [1, 0, 0, 1]


def test_accumulated_step_is_checked_once(fit):
    def spoil(samples, task):
        for i in (0, 8):  # in the first and in the second batch of the first step
            samples[i]["pos"] = samples[i]["pos"] / 10.0

    callback = fit(update_freq=1, accumulate_grad_batches=2, spoil=spoil)
    assert [(f.where, f.count) for f in found(callback, "fractional_positions")] == [
        ("sample 'test/000000'", 1)
    ]
    assert [step for step, _ in callback.param_norm_history["encoder"]] == [0, 1]


def test_counts_and_histories_survive_resume(samples, make_loader, make_task, make_trainer, tmp_path):
    samples[0]["pos"] = samples[0]["pos"] / 10.0
    first = TrainingHelperCallback(update_freq=1)
    trainer = make_trainer(first, max_epochs=2)
    trainer.fit(make_task(), make_loader(samples))
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    second = TrainingHelperCallback(update_freq=1)
    make_trainer(second, max_epochs=3).fit(
        make_task(), make_loader(samples), ckpt_path=tmp_path / "last.ckpt", weights_only=True
    )
    (finding,) = found(second, "fractional_positions")
    assert (finding.count, finding.first_step, finding.last_step) == (3, 0, 8)
    assert len(second.loss_history) == 12
    assert [step for step, _ in second.param_norm_history["encoder"]] == list(range(12))


def test_failing_check_switches_off(
    samples, make_loader, make_task, make_trainer, monkeypatch, caplog, tmp_path
):
    def broken(*args):
        raise RuntimeError("broken check")

    monkeypatch.setattr("mml_diagnostics.checks.embeddings.exploding_embeddings", broken)
    callback = TrainingHelperCallback(update_freq=1)
    task = make_task()
    trainer = make_trainer(callback)
    trainer.fit(task, make_loader(samples))
    assert trainer.global_step == 4
    assert callback.switched_off
    assert not task.encoder._forward_hooks
    (record,) = [r for r in caplog.records if r.levelno >= logging.WARNING and r.name.startswith("mml")]
    assert "TrainingHelperCallback failed" in record.getMessage()
    assert record.exc_info is not None
    (finding,) = json.loads((tmp_path / "findings.json").read_text())["findings"]
    assert finding["check"] == "diagnostic_failed"
    assert "broken check" in finding["message"]


def test_failed_run_keeps_findings(samples, make_loader, make_trainer, make_task, task_class, tmp_path):
    class Dies(task_class):
        def training_step(self, batch, batch_idx):
            if batch_idx == 2:
                raise RuntimeError("out of luck")
            return super().training_step(batch, batch_idx)

    samples[0]["pos"] = samples[0]["pos"] / 10.0
    samples[9]["targets"]["energy"].fill_(torch.nan)
    task = make_task(Dies)
    callbacks = TrainingHelperCallback(update_freq=1), GradientCheckCallback()
    with pytest.raises(RuntimeError, match="out of luck"):
        make_trainer(*callbacks).fit(task, make_loader(samples))
    content = json.loads((tmp_path / "findings.json").read_text())["findings"]
    assert {"fractional_positions", "non_finite_gradient"} <= {finding["check"] for finding in content}
    assert not task.encoder._forward_hooks


def test_zeroed_nan_does_not_blame_encoder(samples, make_loader, make_task, make_trainer):
    samples[0]["targets"]["energy"].fill_(torch.nan)
    helper = TrainingHelperCallback(update_freq=1)
    make_trainer(GradientCheckCallback(), helper, max_steps=1).fit(make_task(), make_loader(samples))
    assert found(helper, "encoder_without_gradient") == []


def test_callback_does_not_change_training(samples, make_loader, make_task, make_trainer):
    weights = []
    for callbacks in ((), (GradientCheckCallback(), TrainingHelperCallback(update_freq=1))):
        task = make_task()
        make_trainer(*callbacks).fit(task, make_loader(samples))
        weights.append(torch.cat([p.detach().flatten() for p in task.parameters()]))
    assert torch.equal(*weights)


@pytest.mark.parametrize("options", [{"fast_dev_run": True}, {"overfit_batches": 1, "max_epochs": 2}])
def test_special_runs_succeed(fit, options):
    callback = fit(update_freq=1, **options)
    assert alarms(callback) == []
    assert not callback.switched_off


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"small_grad_thres": -1.0}, "small_grad_thres must be .*got -1.0"),
        ({"update_freq": 0}, "update_freq must be .*got 0"),
    ],
)
def test_invalid_options_are_rejected(kwargs, message):
    with pytest.raises(ValueError, match=message):
        TrainingHelperCallback(**kwargs)


def test_validation_is_not_checked(samples, make_loader, make_task, make_trainer, task_class):
    class Validates(task_class):
        def validation_step(self, batch, batch_idx):
            assert not self.encoder._forward_hooks
            return self.training_step(batch, batch_idx)

    callback = TrainingHelperCallback(update_freq=1)
    trainer = make_trainer(callback, GradientCheckCallback(), num_sanity_val_steps=2, max_epochs=2)
    trainer.fit(make_task(Validates), make_loader(samples), make_loader(samples))
    assert trainer.global_step == 8
    assert alarms(callback) == []
    assert [step for step, _ in callback.param_norm_history["encoder"]] == list(range(8))


def test_lazy_parameters_are_supported(samples, make_loader, make_task, make_trainer):
    task = make_task()
    task.output_heads["energy"][0] = nn.LazyLinear(16)
    callbacks = TrainingHelperCallback(update_freq=1), GradientCheckCallback()
    make_trainer(*callbacks).fit(task, make_loader(samples))
    assert [alarms(callback) for callback in callbacks] == [[], []]
    assert not any(callback.switched_off for callback in callbacks)
