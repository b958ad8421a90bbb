"""Weights in real runs, compared with the actual length of the run."""

import logging
from typing import Any

import jsonargparse
import pytest
import pytorch_lightning as pl
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from mml_tasks import (
    CosineScalingSchedule,
    LinearScalingSchedule,
    LossScalingScheduler,
    ScalarRegressionTask,
    SequentialScalingSchedule,
    StepScalingSchedule,
)
from mml_tasks.testing import ToyEncoder
from pytorch_lightning.callbacks import (
    EarlyStopping,
    GradientAccumulationScheduler,
    ModelCheckpoint,
)
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.utilities import CombinedLoader
from torch.utils.data import DataLoader, IterableDataset

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
many_runs = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])

BY_STEP = CosineScalingSchedule("energy", 1.0, 10.0, "step")
BY_EPOCH = LinearScalingSchedule("force", 5.0, 0, "epoch")


def loader(samples: int, batch_size: int = 1) -> DataLoader:
    return DataLoader(torch.ones(samples), batch_size=batch_size)


class Endless(IterableDataset):
    """Data set without a length."""

    def __init__(self, samples: int = 10**9) -> None:
        self.samples = samples

    def __iter__(self):
        return iter(torch.ones(1) for _ in range(self.samples))


class Data(pl.LightningDataModule):
    def __init__(self, loaders: Any) -> None:
        super().__init__()
        self.loaders = loaders

    def train_dataloader(self) -> Any:
        return self.loaders


def per_step(module) -> dict[int, dict[str, float]]:
    """Return the weights of each optimizer step, which must be equal for all accumulated batches."""
    steps: dict[int, dict[str, float]] = {}
    for step, weights in module.seen:
        assert steps.setdefault(step, weights) == weights
    return steps


def part(index: int, total: int) -> float:
    return index / (total - 1) if total > 1 else 0.0


def assert_planned(module) -> None:
    """Assert that the weights of all steps match the actual run."""
    steps = per_step(module)
    assert list(steps) == list(range(len(steps)))
    for step, weights in steps.items():
        assert weights["energy"] == BY_STEP.value_at(part(step, len(steps)))
    for epoch, (_, weights) in zip(module.epochs, module.seen, strict=True):
        assert weights["force"] == BY_EPOCH.value_at(part(epoch - 1, module.begun))


@st.composite
def runs(draw) -> tuple[dict[str, Any], Any]:
    """Pairs of trainer options and loaders."""
    sizes = draw(st.lists(st.integers(1, 12), min_size=1, max_size=2))
    batch_size = draw(st.integers(1, 3))
    loaders: Any = loader(sizes[0], batch_size)
    if len(sizes) == 2:
        mode = draw(st.sampled_from(["min_size", "max_size", "max_size_cycle"]))
        both = {"a": loader(sizes[0], batch_size), "b": loader(sizes[1], batch_size)}
        loaders = draw(st.sampled_from([both, CombinedLoader(both, mode)]))
    batches = [-(-size // batch_size) for size in sizes]
    options: dict[str, Any] = {"accumulate_grad_batches": draw(st.integers(1, 4))}
    fraction = draw(st.sampled_from([0.25, 0.5, 0.8, 1.0]))
    limits = [None, draw(st.integers(1, 8)), *([fraction] if int(fraction * min(batches)) else [])]
    kind = draw(st.sampled_from(["bounded", "overfit", "fast_dev_run"]))
    if kind == "fast_dev_run":
        return options | {"fast_dev_run": draw(st.sampled_from([True, 2, 5]))}, loaders
    options["max_epochs"] = draw(st.sampled_from([-1, None, 1, 2, 3, 4]))
    options["max_steps"] = draw(st.integers(1, 15))
    if options["max_epochs"] not in (None, -1) and draw(st.booleans()):
        del options["max_steps"]
    if kind == "overfit":
        options["overfit_batches"] = draw(st.sampled_from([1, 2, *([0.5] if min(batches) > 1 else [])]))
    else:
        options["limit_train_batches"] = draw(st.sampled_from(limits))
    options["min_epochs"] = draw(st.sampled_from([None, 1, 3]))
    options["min_steps"] = draw(st.sampled_from([None, 1, 20]))
    return options, loaders


@many_runs
@given(run=runs(), as_datamodule=st.booleans())
def test_weights_equal_value_at(tiny, make_trainer, run, as_datamodule):
    options, loaders = run
    module = tiny()
    trainer = make_trainer(callbacks=[LossScalingScheduler(BY_STEP, BY_EPOCH)], **options)
    trainer.fit(
        module, **({"datamodule": Data(loaders)} if as_datamodule else {"train_dataloaders": loaders})
    )
    assert_planned(module)
    if trainer.global_step > 1:
        assert module.task_loss_scaling["energy"] == 10.0


@many_runs
@given(
    scheduling=st.dictionaries(st.integers(0, 5), st.integers(1, 5), min_size=1, max_size=3),
    batches=st.integers(1, 9),
    bound=st.one_of(
        st.fixed_dictionaries({"max_epochs": st.integers(1, 7)}),
        st.fixed_dictionaries({"max_steps": st.integers(1, 30), "max_epochs": st.sampled_from([-1, 3])}),
    ),
)
def test_changing_accumulation_is_counted(tiny, make_trainer, scheduling, batches, bound):
    module = tiny()
    callbacks = [LossScalingScheduler(BY_STEP, BY_EPOCH), GradientAccumulationScheduler(scheduling)]
    make_trainer(callbacks=callbacks, **bound).fit(module, loader(batches))
    assert_planned(module)


# ---------------------------------------------------------------- the faults of the archived toolkit


def test_four_epochs_have_expected_weights(tiny, make_trainer):
    """The older toolkit had the weights 1, 1, 4, 7, and needed a data module."""
    module = tiny()
    schedules = [LinearScalingSchedule("energy", 1.0, 10.0), LinearScalingSchedule("force", 3.0, end_value=0)]
    make_trainer(max_epochs=4, callbacks=[LossScalingScheduler(*schedules)]).fit(module, loader(2))
    assert [weights["energy"] for _, weights in module.seen] == [1, 1, 4, 4, 7, 7, 10, 10]
    assert [weights["force"] for _, weights in module.seen] == [3, 3, 2, 2, 1, 1, 0, 0]


def test_max_steps_are_not_epochs(tiny, make_trainer):
    """The older toolkit used ``max_steps`` as the number of epochs."""
    module = tiny()
    scheduler = LossScalingScheduler(LinearScalingSchedule("energy", 1.0, 3.0, "epoch"))
    make_trainer(max_epochs=None, max_steps=6, callbacks=[scheduler]).fit(module, loader(2))
    assert [weights["energy"] for _, weights in module.seen] == [1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize(("limit", "count"), [(0.5, 4), (3, 3), (1.0, 8)])
def test_batch_limits_are_counted(tiny, make_trainer, limit, count):
    """The older toolkit ignored a fraction as ``limit_train_batches``."""
    module = tiny()
    scheduler = LossScalingScheduler(LinearScalingSchedule("energy", 0.0, count - 1, "step"))
    make_trainer(limit_train_batches=limit, callbacks=[scheduler]).fit(module, loader(8))
    assert [weights["energy"] for _, weights in module.seen] == list(range(count))


def test_single_step_has_initial_value(tiny, make_trainer):
    module = tiny()
    make_trainer(max_steps=1, callbacks=[LossScalingScheduler(BY_STEP, BY_EPOCH)]).fit(module, loader(3))
    assert module.seen == [(0, {"energy": 1.0, "force": 5.0})]


# ---------------------------------------------------------------- runs that end otherwise


def test_early_end_keeps_plan(tiny, make_trainer):
    class Stop(pl.Callback):
        def on_train_batch_end(self, trainer, *args: Any) -> None:
            trainer.should_stop = trainer.global_step == 5

    whole, stopped = tiny(), tiny()
    make_trainer(max_epochs=3, callbacks=[LossScalingScheduler(BY_STEP, BY_EPOCH)]).fit(whole, loader(4))
    make_trainer(max_epochs=3, callbacks=[LossScalingScheduler(BY_STEP, BY_EPOCH), Stop()]).fit(
        stopped, loader(4)
    )
    assert stopped.seen == whole.seen[:5]


def test_early_stopping_keeps_plan(tiny, make_trainer):
    class Measured(tiny):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val_loss", 1.0)

    module = Measured()
    callbacks = [LossScalingScheduler(BY_EPOCH), EarlyStopping("val_loss", patience=1)]
    make_trainer(max_epochs=11, callbacks=callbacks).fit(module, loader(1), loader(1))
    assert [weights["force"] for _, weights in module.seen] == [5.0, 4.5]


@pytest.mark.parametrize("bound", [{"max_epochs": 4}, {"max_epochs": None, "max_steps": 8}])
def test_max_time_keeps_plan(tiny, make_trainer, bound):
    module = tiny()
    scheduler = LossScalingScheduler(BY_STEP, BY_EPOCH)
    make_trainer(max_time="00:01:00:00", callbacks=[scheduler], **bound).fit(module, loader(2))
    assert_planned(module)


def test_longer_run_continues(tiny, make_trainer):
    module = tiny()
    trainer = make_trainer(
        max_epochs=2, callbacks=[LossScalingScheduler(LinearScalingSchedule("force", 0, 3))]
    )
    trainer.fit(module, loader(1))
    trainer.fit_loop.max_epochs = 4
    trainer.fit(module, loader(1))
    assert [weights["force"] for _, weights in module.seen] == [0, 3, 2, 3], "of two epochs, then of four"


def test_given_total_keeps_end_value(tiny, make_trainer):
    module = tiny()
    schedules = [LinearScalingSchedule("energy", 0, 2, "step"), LinearScalingSchedule("force", 0, 1, "epoch")]
    scheduler = LossScalingScheduler(*schedules, total_steps=3, total_epochs=2)
    make_trainer(max_epochs=3, callbacks=[scheduler]).fit(module, loader(2))
    assert [weights["energy"] for _, weights in module.seen] == [0, 1, 2, 2, 2, 2]
    assert [weights["force"] for _, weights in module.seen] == [0, 0, 1, 1, 1, 1]


# ---------------------------------------------------------------- data without a length


@pytest.mark.parametrize(
    "options",
    [
        {"max_epochs": None, "max_steps": 7},
        {"max_epochs": -1, "max_steps": 7, "accumulate_grad_batches": 2},
        {"max_epochs": 2, "limit_train_batches": 3},
        {"max_epochs": None, "max_steps": 7, "limit_train_batches": 3},
    ],
)
def test_unsized_data_count_steps(tiny, make_trainer, options):
    module = tiny()
    make_trainer(callbacks=[LossScalingScheduler(BY_STEP)], **options).fit(module, DataLoader(Endless()))
    steps = per_step(module)
    for step, weights in steps.items():
        assert weights["energy"] == BY_STEP.value_at(part(step, len(steps)))


def test_unsized_data_count_epochs(tiny, make_trainer):
    module = tiny()
    make_trainer(max_epochs=3, callbacks=[LossScalingScheduler(BY_EPOCH)]).fit(module, DataLoader(Endless(4)))
    assert [weights["force"] for _, weights in module.seen] == [5.0] * 4 + [2.5] * 4 + [0.0] * 4


@pytest.mark.parametrize(
    ("schedule", "data", "options", "message"),
    [
        (
            BY_STEP,
            Endless(),
            {"max_epochs": 2},
            "number of steps of the run is unknown, because the training data have no length",
        ),
        (
            BY_EPOCH,
            Endless(),
            {"max_epochs": None, "max_steps": 5},
            "number of epochs of the run is unknown, because the training data have no",
        ),
        (
            BY_STEP,
            None,
            {"max_epochs": -1},
            "the trainer has no limit. Set max_steps or max_epochs",
        ),
        (BY_EPOCH, None, {"max_epochs": -1}, "the trainer has no limit. .*, or pass total_epochs"),
        (
            BY_STEP,
            None,
            {"max_epochs": None, "max_time": "00:00:10:00"},
            "only max_time limits it. .*, or pass total_steps",
        ),
    ],
)
def test_endless_run_is_refused(tiny, make_trainer, schedule, data, options, message):
    module = tiny()
    train = loader(2) if data is None else DataLoader(data)
    with pytest.raises(ValueError, match=message):
        make_trainer(callbacks=[LossScalingScheduler(schedule)], **options).fit(module, train)
    assert not module.seen


def test_endless_run_accepts_total(tiny, make_trainer):
    module = tiny()

    class Stop(pl.Callback):
        def on_train_batch_end(self, trainer, *args: Any) -> None:
            trainer.should_stop = trainer.global_step == 5

    scheduler = LossScalingScheduler(LinearScalingSchedule("energy", 0, 2, "step"), total_steps=3)
    make_trainer(max_epochs=-1, callbacks=[scheduler, Stop()]).fit(module, DataLoader(Endless()))
    assert [weights["energy"] for _, weights in module.seen] == [0, 1, 2, 2, 2]


# ---------------------------------------------------------------- manual optimization


def by_hand(tiny, steps_per_batch: int):
    class ByHand(tiny):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> None:
            for _ in range(steps_per_batch):
                loss = super().training_step(batch, batch_idx)
                self.optimizers().zero_grad()
                self.manual_backward(loss)
                self.optimizers().step()

    return ByHand()


def test_manual_optimization_counts_batches(tiny, make_trainer):
    module = by_hand(tiny, steps_per_batch=3)
    scheduler = LossScalingScheduler(LinearScalingSchedule("energy", 0, 3, "step"), BY_EPOCH)
    make_trainer(max_epochs=2, callbacks=[scheduler]).fit(module, loader(2))
    assert [weights["energy"] for _, weights in module.seen] == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    assert [weights["force"] for _, weights in module.seen] == [5] * 6 + [0] * 6


def test_manual_optimization_refuses_max_steps(tiny, make_trainer):
    with pytest.raises(ValueError, match="manual optimization may take any number of them per batch"):
        make_trainer(max_steps=6, callbacks=[LossScalingScheduler(BY_STEP)]).fit(by_hand(tiny, 3), loader(2))
    module = by_hand(tiny, 3)
    scheduler = LossScalingScheduler(LinearScalingSchedule("energy", 0, 1, "step"), total_steps=2)
    make_trainer(max_steps=6, callbacks=[scheduler]).fit(module, loader(2))
    assert [weights["energy"] for _, weights in module.seen] == [0] * 3 + [1] * 3


# ---------------------------------------------------------------- stopping and resuming


class KilledError(Exception):
    pass


class Kill(pl.Callback):
    def __init__(self, batch: int) -> None:
        self.batch = batch

    def on_train_batch_start(self, trainer, pl_module, batch: Any, batch_idx: int) -> None:
        if len(pl_module.seen) == self.batch:
            raise KilledError


@many_runs
@given(
    bound=st.sampled_from(
        [{"max_epochs": 3}, {"max_epochs": -1, "max_steps": 12}, {"max_epochs": 3, "max_steps": 9}]
    ),
    accumulate=st.integers(1, 3),
    batches=st.integers(2, 7),
    when=st.sampled_from(["step", "epoch", "validation"]),
    data=st.data(),
)
def test_resumed_run_has_same_weights(
    tiny, make_trainer, tmp_path_factory, bound, accumulate, batches, when, data
):
    """The run is killed at any batch and resumed from the last checkpoint, within an epoch or at its end."""
    folder = tmp_path_factory.mktemp("run")
    options = {**bound, "accumulate_grad_batches": accumulate, "enable_checkpointing": True}
    saving = {
        "step": {"every_n_train_steps": 1},
        "epoch": {"save_on_train_epoch_end": True},
        "validation": {"save_on_train_epoch_end": False},
    }[when]
    if when == "validation":
        options["val_check_interval"] = data.draw(st.integers(1, batches))

    def run(*others: pl.Callback, ckpt_path: Any = None):
        module = tiny()
        checkpoint = ModelCheckpoint(folder, save_last=True, **saving)
        callbacks = [LossScalingScheduler(BY_STEP, BY_EPOCH), checkpoint, *others]
        trainer = make_trainer(callbacks=callbacks, **options)
        trainer.fit(module, loader(batches), loader(1), ckpt_path=ckpt_path)
        return module

    whole = run()
    (folder / "last.ckpt").unlink(missing_ok=True)
    with pytest.raises(KilledError):
        run(Kill(data.draw(st.integers(1, len(whole.seen) - 1))))
    assume((folder / "last.ckpt").exists())  # not killed before the first
    stored = torch.load(folder / "last.ckpt", weights_only=True)["global_step"]
    resumed = per_step(run(ckpt_path=folder / "last.ckpt"))
    rest = {step: weights for step, weights in per_step(whole).items() if step >= stored}
    if bound.keys() == {"max_epochs", "max_steps"} and bound["max_epochs"] != -1:
        # Lightning 2.6 may count an epoch twice that was resumed at its end, and train one epoch less.
        rest = {step: weights for step, weights in rest.items() if step <= max(resumed, default=-1)}
    assert resumed == rest


def test_checkpoint_has_no_schedule(tiny, make_trainer, tmp_path):
    trainer = make_trainer(callbacks=[LossScalingScheduler(BY_STEP)])
    trainer.fit(tiny(), loader(2))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    assert torch.load(tmp_path / "a.ckpt", weights_only=True)["callbacks"] == {}


# ---------------------------------------------------------------- logging


def logged(folder: Any) -> dict[int, dict[str, float]]:
    """Return the metrics of a CSVLogger by step."""
    (path,) = folder.glob("**/metrics.csv")
    names, *rows = [line.split(",") for line in path.read_text().splitlines()]
    table: dict[int, dict[str, float]] = {}
    for row in rows:
        values = {name: float(value) for name, value in zip(names, row, strict=True) if value}
        table.setdefault(int(values.pop("step")), {}).update(values)
    return table


def test_weights_are_logged_at_intervals(tiny, make_trainer, tmp_path):
    module = tiny()
    scheduler = LossScalingScheduler(BY_STEP, BY_EPOCH)
    options = {"logger": CSVLogger(tmp_path), "log_every_n_steps": 5, "accumulate_grad_batches": 2}
    make_trainer(max_epochs=2, callbacks=[scheduler], **options).fit(module, loader(16))
    table = logged(tmp_path)
    assert list(table) == [0, 4, 8, 9, 14, 15], "each epoch's first step, every fifth, and the last"
    for step, values in table.items():
        weights = per_step(module)[step]
        assert values == {"loss_scaling/energy": weights["energy"], "loss_scaling/force": weights["force"]}


@pytest.mark.parametrize("options", [{"barebones": True}, {"logger": False}, {"log_every_n_steps": 0}])
def test_missing_logger_changes_nothing(tiny, tmp_path, options):
    module = tiny()
    callbacks = [LossScalingScheduler(BY_STEP, BY_EPOCH)]
    if not options.get("barebones"):
        options = options | {"enable_progress_bar": False, "enable_checkpointing": False}
    pl.Trainer(
        accelerator="cpu", max_epochs=3, callbacks=callbacks, default_root_dir=tmp_path, **options
    ).fit(module, loader(3))
    assert_planned(module)


def test_plan_is_logged(tiny, make_trainer, caplog):
    def messages(level: str) -> list[str]:
        caplog.clear()
        scheduler = LossScalingScheduler(LinearScalingSchedule("force", 1.0, 3.0), log_level=level)
        make_trainer(max_epochs=2, callbacks=[scheduler]).fit(tiny(), loader(1))
        return [record.message for record in caplog.records if record.name.startswith("mml_tasks")]

    schedule = "LinearScalingSchedule(key='force', initial_value=1.0, end_value=3.0, step_frequency='epoch')"
    plan = f"{schedule} over 2 epochs"
    assert messages("WARNING") == []
    assert messages("INFO") == [plan]
    assert messages("DEBUG") == [plan, "step 0: {'force': 1.0}", "step 1: {'force': 3.0}"]
    logging.getLogger("mml_tasks.weights.loss_scaling_scheduler").setLevel(logging.NOTSET)


# ---------------------------------------------------------------- what it is given


def test_inferred_targets_are_scheduled(data, make_trainer):
    task = ScalarRegressionTask(ToyEncoder())
    seen = []

    class Look(pl.Callback):
        def on_train_batch_end(self, *args: Any) -> None:
            seen.append(task.task_loss_scaling["band_gap"])

    scheduler = LossScalingScheduler(LinearScalingSchedule("band_gap", 1.0, 3.0, "step"))
    make_trainer(callbacks=[scheduler, Look()]).fit(task, data)
    assert seen == [1.0, 2.0, 3.0]
    late = ScalarRegressionTask(ToyEncoder())
    with pytest.raises(
        ValueError, match=r"has weights for \['gap'\], which are not targets of ScalarRegressionTask"
    ):
        make_trainer(callbacks=[LossScalingScheduler(LinearScalingSchedule("gap", 1.0))]).fit(late, data)
    early = ScalarRegressionTask(ToyEncoder(), task_keys=["band_gap"])
    with pytest.raises(ValueError, match=r"expected some of \['band_gap'\]"):
        LossScalingScheduler(LinearScalingSchedule("gap", 1.0)).setup(make_trainer(), early, "fit")


@pytest.mark.parametrize(
    ("schedules", "options", "error", "message"),
    [
        ([], {}, ValueError, "needs at least one schedule"),
        (
            [BY_STEP, BY_EPOCH, BY_STEP],
            {},
            ValueError,
            r"more than one schedule for \['energy'\]. Combine them",
        ),
        (["energy"], {}, TypeError, "expects schedules, such as .*, got 'energy'"),
        ([[BY_STEP]], {}, TypeError, "expects schedules"),
        ([BY_STEP], {"total_steps": 0}, ValueError, "total_steps must be at least 1, got 0"),
        ([BY_STEP], {"total_epochs": -2}, ValueError, "total_epochs must be at least 1, got -2"),
        ([BY_STEP], {"log_level": "info"}, ValueError, "log_level must be one of .*'INFO'.*, got 'info'"),
    ],
)
def test_invalid_schedules_are_refused(schedules, options, error, message):
    with pytest.raises(error, match=message):
        LossScalingScheduler(*schedules, **options)


def test_schedules_are_built_by_name():
    both = LossScalingScheduler(BY_STEP, schedules=[BY_EPOCH])
    assert both.schedules == [BY_STEP, BY_EPOCH]
    assert both.keys == ["energy", "force"]


RAMP = {"key": "energy", "initial_value": 0, "end_value": 4, "step_frequency": "step"}
FALL = {"key": "energy", "initial_value": 4, "end_value": 1, "center_frac": 0.5}
PARTS = [
    {"class_path": "mml_tasks.LinearScalingSchedule", "init_args": RAMP},
    {"class_path": "mml_tasks.SigmoidScalingSchedule", "init_args": FALL},
]
STEPS = {"key": "force", "initial_value": 1, "milestones": [0.5], "values": [9]}
SCHEDULES = [
    {
        "class_path": "mml_tasks.SequentialScalingSchedule",
        "init_args": {"milestones": [0.25], "schedules": PARTS},
    },
    {"class_path": "mml_tasks.StepScalingSchedule", "init_args": STEPS},
]
CONFIG = {
    "class_path": "mml_tasks.LossScalingScheduler",
    "init_args": {"schedules": SCHEDULES, "total_steps": 100},
}


@pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")
def test_parser_builds_callback():
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(pl.Trainer, "trainer")
    config = parser.parse_object({"trainer": {"callbacks": [CONFIG], "logger": False, "accelerator": "cpu"}})
    scheduler = next(
        callback
        for callback in parser.instantiate_classes(config).trainer.callbacks
        if isinstance(callback, LossScalingScheduler)
    )
    chain, steps = scheduler.schedules
    assert isinstance(chain, SequentialScalingSchedule)
    assert [chain.value_at(fraction) for fraction in (0, 0.125, 0.25, 1)] == [0, 2, 4, 1]
    assert isinstance(steps, StepScalingSchedule)
    assert (scheduler.keys, scheduler.total_steps) == (["energy", "force"], 100)
    wrong = {**CONFIG, "init_args": {"schedules": [{"class_path": "mml_tasks.Linear"}]}}
    with pytest.raises(jsonargparse.ArgumentError, match="schedules"):
        parser.parse_object({"trainer": {"callbacks": [wrong]}})
