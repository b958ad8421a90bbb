"""A resumed run follows its configuration, or raises an error."""

from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from mml_tasks import ForceRegressionTask, MultiTaskLitModule, ScalarRegressionTask
from mml_tasks.testing import ToyEncoder

SCHEDULES = {
    "OneCycleLR": {},
    "CosineAnnealingLR": {},
    "SequentialLR": {
        "schedulers": [{"LinearLR": {"start_factor": 0.1}}, {"CosineAnnealingLR": {}}],
        "milestones": [0.25],
    },
}


def make_task(scheduler: str | None = "OneCycleLR", **options: Any) -> ScalarRegressionTask:
    torch.manual_seed(0)
    schedule = {scheduler: SCHEDULES[scheduler]} if scheduler else None
    defaults: dict[str, Any] = {"lr": 0.01, "scheduler_kwargs": schedule, "task_keys": ["band_gap"]}
    return ScalarRegressionTask(encoder_class=ToyEncoder, **{**defaults, **options})


class Rates:
    """Records the learning rate of every step."""

    def __init__(self) -> None:
        seen = self.seen = []

        class Watch(pl.Callback):
            def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
                seen.append(trainer.optimizers[0].param_groups[0]["lr"])

        self.callback = Watch()


class Stop(pl.Callback):
    """Saves and stops the run after a step."""

    def __init__(self, step: int, path: Any) -> None:
        self.step, self.path = step, path

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)
            trainer.should_stop = True


@pytest.fixture
def finished(data, make_trainer, tmp_path):
    """Return a checkpoint at the end of a run of two epochs, six steps."""

    def run(scheduler: str | None, **options: Any) -> Any:
        trainer = make_trainer(max_epochs=2)
        trainer.fit(make_task(scheduler, **options), data)
        trainer.save_checkpoint(tmp_path / "last.ckpt")
        return tmp_path / "last.ckpt"

    return run


def rates(data: Any, make_trainer: Any, task: Any, epochs: int, ckpt_path: Any = None) -> list[float]:
    watch = Rates()
    make_trainer(max_epochs=epochs, callbacks=[watch.callback]).fit(task, data, ckpt_path=ckpt_path)
    return watch.seen


@pytest.mark.parametrize("scheduler", SCHEDULES)
def test_longer_run_is_refused_without_a_choice(scheduler, finished, data, make_trainer):
    path = finished(scheduler)
    with pytest.raises(
        ValueError, match=r"created for a run of another length: .*--schedule .*'restart' .*'keep'"
    ):
        rates(data, make_trainer, make_task(scheduler), 4, path)


@pytest.mark.parametrize("scheduler", SCHEDULES)
def test_stretch_follows_the_longer_schedule(scheduler, finished, data, make_trainer):
    task = make_task(scheduler)
    task.resume_schedule = "stretch"
    found = rates(data, make_trainer, task, 4, finished(scheduler))
    whole = rates(data, make_trainer, make_task(scheduler), 4)
    assert found == pytest.approx(whole[6:], rel=1e-6)


@pytest.mark.parametrize("scheduler", SCHEDULES)
def test_restart_begins_schedule_again(scheduler, finished, data, make_trainer):
    task = make_task(scheduler)
    task.resume_schedule = "restart"
    found = rates(data, make_trainer, task, 4, finished(scheduler))
    assert found == pytest.approx(rates(data, make_trainer, make_task(scheduler), 2), rel=1e-6)


@pytest.mark.parametrize("scheduler", SCHEDULES)
def test_keep_stays_at_the_last_rate(scheduler, finished, data, make_trainer):
    task = make_task(scheduler)
    task.resume_schedule = "keep"
    found = rates(data, make_trainer, task, 4, finished(scheduler))
    assert found == [found[0]] * 6
    assert found[0] < 1e-4


def test_restarted_run_continues_after_an_interruption(finished, data, make_trainer, tmp_path):
    def restarted() -> Any:
        task = make_task("CosineAnnealingLR")
        task.resume_schedule = "restart"
        return task

    whole = rates(data, make_trainer, restarted(), 5, finished("CosineAnnealingLR"))
    trainer = make_trainer(max_epochs=5, callbacks=[Stop(9, tmp_path / "stopped.ckpt")])
    trainer.fit(restarted(), data, ckpt_path=finished("CosineAnnealingLR"))
    assert (
        rates(data, make_trainer, make_task("CosineAnnealingLR"), 5, tmp_path / "stopped.ckpt") == whole[3:]
    )


def test_unchanged_run_logs_nothing(finished, data, make_trainer):
    path = finished(None)
    assert rates(data, make_trainer, make_task(None), 3, path) == [0.01] * 3


@pytest.mark.parametrize(
    ("options", "name"),
    [({"lr": 1e-4}, "lr is 0.01 in the checkpoint and 0.0001"), ({"weight_decay": 0.3}, "weight_decay")],
)
def test_other_optimizer_options_are_refused(options, name, finished, data, make_trainer):
    path = finished(None)
    with pytest.raises(ValueError, match=rf"{name}.*--init_from"):
        rates(data, make_trainer, make_task(None, **options), 3, path)
    task = make_task(None, **options)
    task.resume_schedule = "keep"
    with pytest.raises(ValueError, match="'keep' cannot apply them"):
        rates(data, make_trainer, task, 3, path)


@pytest.mark.parametrize("before", [None, "OneCycleLR"])
def test_other_schedule_is_refused_or_restarted(before, finished, data, make_trainer):
    path = finished(before)
    with pytest.raises(
        ValueError, match=r"has the schedulers \['CosineAnnealingLR'\], but the checkpoint has . different"
    ):
        rates(data, make_trainer, make_task("CosineAnnealingLR"), 4, path)
    found = {}
    for mode in ("restart", "stretch"):
        task = make_task("CosineAnnealingLR")
        task.resume_schedule = mode
        found[mode] = rates(data, make_trainer, task, 4, path)
    whole = rates(data, make_trainer, make_task("CosineAnnealingLR"), 4)
    assert found["stretch"] == pytest.approx(whole[6:], rel=1e-6)
    assert found["restart"] == pytest.approx(rates(data, make_trainer, make_task("CosineAnnealingLR"), 2))


def test_restart_applies_other_options(finished, data, make_trainer):
    task = make_task(None, lr=1e-4, weight_decay=0.3)
    task.resume_schedule = "restart"
    assert rates(data, make_trainer, task, 3, finished(None)) == [1e-4] * 3


def test_short_schedule_is_refused(data, make_trainer):
    task = make_task(None, scheduler_kwargs={"OneCycleLR": {"total_steps": 5}})
    with pytest.raises(ValueError, match=r"OneCycleLR has total_steps=5, but the run has 12 steps"):
        make_trainer(max_epochs=4).fit(task, data)


def test_unknown_choice_is_refused(finished, data, make_trainer):
    task = make_task(None)
    task.resume_schedule = "squeeze"
    with pytest.raises(ValueError, match=r"resume_schedule must be one of .*'squeeze'"):
        rates(data, make_trainer, task, 3, finished(None))


def test_multitask_module_resumes(both, make_trainer, tmp_path):
    def make(lr: float = 0.01) -> MultiTaskLitModule:
        tasks = [
            (name, ScalarRegressionTask(encoder_class=ToyEncoder, task_keys=["band_gap"], lr=lr))
            for name in ("md", "bulk")
        ]
        return MultiTaskLitModule(*tasks, scheduler_kwargs={"OneCycleLR": {}})

    trainer = make_trainer(max_epochs=1)
    trainer.fit(make(), both)
    trainer.save_checkpoint(tmp_path / "multi.ckpt")
    with pytest.raises(ValueError, match="run of another length"):
        make_trainer(max_epochs=2).fit(make(), both, ckpt_path=tmp_path / "multi.ckpt")
    task = make()
    task.resume_schedule = "stretch"
    make_trainer(max_epochs=2).fit(task, both, ckpt_path=tmp_path / "multi.ckpt")


# ---------------------------------------------------------------- from weights alone


def force(**options: Any) -> ForceRegressionTask:
    defaults: dict[str, Any] = {"normalize_kwargs": "auto", "lr": 0.01}
    return ForceRegressionTask(encoder_class=ToyEncoder, **{**defaults, **options})


@pytest.fixture
def trained(data, make_trainer, tmp_path):
    task, trainer = force(), make_trainer(max_epochs=2)
    trainer.fit(task, data)
    trainer.save_checkpoint(tmp_path / "trained.ckpt")
    return task


@pytest.mark.parametrize("normalizer", ["keep", "refit"])
def test_run_starts_from_weights(normalizer, trained, data, make_trainer, tmp_path):
    for _, targets in data.samples:
        targets["force"] *= 3.0
    task = force(lr=0.0)
    task.start_from(tmp_path / "trained.ckpt", normalizer)
    trainer = make_trainer(max_epochs=1)
    trainer.fit(task, data)
    assert trainer.global_step == 3
    for name, value in trained.state_dict().items():
        if "normalizers" not in name:
            assert torch.equal(task.state_dict()[name], value), name
    ratio = task.normalizers["force"].std / trained.normalizers["force"].std
    assert ratio.item() == pytest.approx(1.0 if normalizer == "keep" else 3.0)


def test_start_from_other_weights_is_refused(trained, data, make_trainer, tmp_path):
    task = force(encoder_kwargs={"output_dim": 12})
    task.start_from(tmp_path / "trained.ckpt", "keep")
    with pytest.raises(ValueError, match=r"do not match ForceRegressionTask: .* has shape .*from_pretr"):
        make_trainer().fit(task, data)
    with pytest.raises(ValueError, match="'keep' or 'refit', got 'both'"):
        task.start_from(tmp_path / "trained.ckpt", "both")
    with pytest.raises(FileNotFoundError, match=r"checkpoint .*none.ckpt does not exist"):
        task.start_from(tmp_path / "none.ckpt", "keep")
