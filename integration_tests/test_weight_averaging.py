"""A run with averaging validates, saves and tests the average, and leaves it in the module."""

import logging
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from mml_diagnostics import ExponentialMovingAverageCallback
from mml_tasks import ForceRegressionTask
from pytorch_lightning.callbacks import ModelCheckpoint
from support import make_data, make_task, weights

DECAY = 0.9
STEPS = 4  # per epoch

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*smaller than the logging interval"),
    pytest.mark.filterwarnings("ignore:The dirpath has changed"),
]


class Record(pl.Callback):
    """Callback that records the live weights after each optimizer step."""

    def __init__(self) -> None:
        self.seen: list[dict[str, torch.Tensor]] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        self.seen.append(copy_of(pl_module))


def copy_of(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture
def make_trainer(tmp_path):
    def make(*callbacks: pl.Callback, **options: Any) -> pl.Trainer:
        limits = {
            "limit_train_batches": STEPS,
            "limit_val_batches": 2,
            "limit_test_batches": 2,
            "max_epochs": 2,
        }
        return pl.Trainer(
            accelerator="cpu",
            callbacks=list(callbacks),
            default_root_dir=tmp_path,
            **(
                {"logger": False, "enable_model_summary": False, "limit_predict_batches": 1}
                | limits
                | options
            ),
        )

    return make


@pytest.fixture
def every_epoch(tmp_path):
    """Return a function that creates a callback with a checkpoint per epoch, in a new folder for each run."""
    runs = iter(range(10))

    def make(**options: Any) -> ModelCheckpoint:
        folder = tmp_path / f"run{next(runs)}"
        return ModelCheckpoint(folder, filename="{epoch}", save_top_k=-1, **options)

    return make


def average(**options: Any) -> ExponentialMovingAverageCallback:
    return ExponentialMovingAverageCallback(DECAY, **options)


def fresh(path: Path) -> ForceRegressionTask:
    return ForceRegressionTask.load_from_checkpoint(path, weights_only=True)


def test_average_is_used_everywhere(make_trainer, every_epoch):
    task, data, record, saved = make_task(), make_data(), Record(), every_epoch()
    trainer = make_trainer(record, average(), saved)
    trainer.fit(task, data)
    logged = trainer.callback_metrics["val_loss"].item()

    expected = record.seen[0]
    for live in record.seen[1:]:
        expected = {
            name: DECAY * expected[name] + (1 - DECAY) * value if name.startswith(("enc", "out")) else value
            for name, value in live.items()
        }
    left = copy_of(task)
    for name, value in left.items():
        torch.testing.assert_close(value, expected[name], msg=name)
    first, last = (Path(saved.dirpath) / f"epoch={epoch}.ckpt" for epoch in range(2))
    assert same(weights(last), left)
    assert same(torch.load(last, weights_only=True)["current_model_state"], record.seen[-1])
    assert not same(left, record.seen[-1])
    assert make_trainer().validate(fresh(last), make_data(), verbose=False)[0]["val_loss"] == logged

    # The trainer of the fit evaluates the same weights as a new process.
    assert trainer.test(task, data, verbose=False) == make_trainer().test(
        fresh(last), make_data(), verbose=False
    )
    for path in (first, last):
        for run in ("test", "validate"):
            here = getattr(trainer, run)(task, data, ckpt_path=path, verbose=False, weights_only=True)
            there = getattr(make_trainer(), run)(fresh(path), make_data(), verbose=False)
            assert here == there, (run, path)
            assert same(copy_of(task), weights(path))
        here = trainer.predict(task, data, ckpt_path=path, weights_only=True)[0]["predictions"]
        there = make_trainer().predict(fresh(path), make_data())[0]["predictions"]
        assert same(here, there)
    # A checkpoint saved now contains the weights that were evaluated last.
    trainer.test(task, data, ckpt_path=first, verbose=False, weights_only=True)
    trainer.save_checkpoint(last.with_name("after.ckpt"))
    assert same(weights(last.with_name("after.ckpt")), weights(first))


@pytest.mark.parametrize("start", [{"update_starting_at_step": STEPS + 1}, {"update_starting_at_epoch": 1}])
def test_delayed_average_starts_from_current_weights(make_trainer, every_epoch, start):
    plain, delayed = every_epoch(), every_epoch()
    make_trainer(plain).fit(make_task(), make_data())
    task, record = make_task(), Record()
    trainer = make_trainer(record, average(**start), delayed, max_epochs=2)
    trainer.fit(task, make_data())
    before = torch.load(Path(delayed.dirpath) / "epoch=0.ckpt", weights_only=True)
    assert same(before["state_dict"], weights(Path(plain.dirpath) / "epoch=0.ckpt"))
    assert same(before["state_dict"], record.seen[STEPS - 1])
    assert "current_model_state" not in before

    first = STEPS + 1 if "update_starting_at_step" in start else STEPS
    expected = dict(record.seen[first])
    for live in record.seen[first + 1 :]:
        expected = {name: DECAY * expected[name] + (1 - DECAY) * value for name, value in live.items()}
    for name, value in task.named_parameters():
        torch.testing.assert_close(value.detach(), expected[name], msg=name)


def test_average_has_no_effect_before_start(make_trainer, every_epoch):
    plain, delayed = make_task(), make_task()
    first, second = make_trainer(), make_trainer(average(update_starting_at_step=100), saved := every_epoch())
    first.fit(plain, make_data())
    second.fit(delayed, make_data())
    assert same(copy_of(plain), copy_of(delayed))
    assert first.callback_metrics["val_loss"] == second.callback_metrics["val_loss"]
    assert second.test(
        delayed, make_data(), ckpt_path=saved.best_model_path, verbose=False, weights_only=True
    )
    assert same(copy_of(plain), copy_of(delayed))


class SavesFirst(pl.Callback):
    """Callback that saves after a step, before the later callbacks process that step."""

    def __init__(self, step: int, path: Path) -> None:
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


@pytest.mark.filterwarnings("ignore:.*dataloader is not resumable")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"update_starting_at_step": STEPS + 1, "update_every_n_steps": 2},
        {"update_starting_at_epoch": 2},
        {"update_every_n_steps": 0},
        {"update_every_n_steps": 0, "update_starting_at_epoch": 1},
    ],
)
def test_resume_restores_average(make_trainer, every_epoch, options, tmp_path):
    saved = every_epoch()
    whole, record = make_task(), Record()
    middle = SavesFirst(2 * STEPS + 2, tmp_path / "middle.ckpt")
    make_trainer(middle, record, average(**options), saved, max_epochs=4).fit(whole, make_data())
    half = make_task()
    stopped = make_trainer(average(**options), max_epochs=2)
    stopped.fit(half, make_data())
    stopped.save_checkpoint(tmp_path / "stopped.ckpt")
    for path in (
        Path(saved.dirpath) / "epoch=0.ckpt",
        Path(saved.dirpath) / "epoch=1.ckpt",
        tmp_path / "stopped.ckpt",
        middle.path,
    ):
        resumed, again, record_again = make_task(), every_epoch(), Record()
        trainer = make_trainer(record_again, average(**options), again, max_epochs=4)
        trainer.fit(resumed, make_data(), ckpt_path=path, weights_only=True)
        assert same(record_again.seen[-1], record.seen[-1]), path
        assert same(copy_of(resumed), copy_of(whole)), path
        one, other = (
            torch.load(Path(each.dirpath) / "epoch=3.ckpt", weights_only=True) for each in (saved, again)
        )
        assert same(one["state_dict"], other["state_dict"])
        assert same(one["current_model_state"], other["current_model_state"])


def test_average_starts_from_plain_checkpoint(make_trainer, every_epoch, caplog):
    saved, record, task = every_epoch(), Record(), make_task()
    make_trainer(saved).fit(make_task(), make_data())
    trainer = make_trainer(record, average(verbose="INFO"), max_epochs=3)
    with caplog.at_level(logging.INFO):
        trainer.fit(task, make_data(), ckpt_path=Path(saved.dirpath) / "epoch=1.ckpt", weights_only=True)
    assert "The average starts from the loaded weights" in caplog.text
    expected = record.seen[0]
    for live in record.seen[1:]:
        expected = {name: DECAY * expected[name] + (1 - DECAY) * value for name, value in live.items()}
    for name, value in task.named_parameters():
        torch.testing.assert_close(value.detach(), expected[name], msg=name)


def test_normalizer_numbers_stay_exact(make_trainer, every_epoch):
    """Rounding the mean of all-electron energies of heavy atoms once would cause an error of meV."""
    references = {number: -1.0e5 / 3 - number / 7 for number in range(1, 95)}
    options = {"normalize_kwargs": {"energy_reference": references, "energy_std": 1 / 3}}
    task, saved = make_task(**options), every_epoch()
    numbers = copy_of(task.normalizers)
    averaging = ExponentialMovingAverageCallback(0.997)
    make_trainer(averaging, saved, max_epochs=6, limit_train_batches=8).fit(task, make_data())
    assert same(copy_of(task.normalizers), numbers)
    stored = torch.load(saved.best_model_path, weights_only=True)
    for state in (stored["state_dict"], stored["current_model_state"]):
        prefix = "normalizers."
        assert same({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}, numbers)


def test_average_uses_overriding_numbers(make_trainer, every_epoch):
    saved = every_epoch()
    make_trainer(average(), saved).fit(make_task(), make_data())
    numbers = {"energy_per_atom_mean": 3.0, "energy_std": 2.0}
    task = make_task(normalize_kwargs=numbers | {"override": True})
    trainer = make_trainer(average(), again := every_epoch(), max_epochs=3)
    trainer.fit(task, make_data(), ckpt_path=saved.best_model_path, weights_only=True)
    state = torch.load(again.best_model_path, weights_only=True)
    for name in ("state_dict", "current_model_state"):
        assert state[name]["normalizers.energy.mean"].item() == 3.0, name
        assert state[name]["normalizers.force.std"].item() == 2.0, name


class FailsInValidation(pl.Callback):
    def on_validation_batch_end(self, trainer: Any, *args: Any, **kwargs: Any) -> None:
        if trainer.current_epoch == 1 and not trainer.sanity_checking:
            raise RuntimeError("the node went down")


def test_failed_validation_restores_live_weights(make_trainer, tmp_path):
    task, record = make_task(), Record()
    emergency = ModelCheckpoint(tmp_path, filename="emergency", save_on_exception=True, monitor="val_loss")
    trainer = make_trainer(FailsInValidation(), record, average(), emergency)
    with pytest.raises(RuntimeError, match="the node went down"):
        trainer.fit(task, make_data())
    assert same(copy_of(task), record.seen[-1])
    trainer.save_checkpoint(tmp_path / "by_hand.ckpt")
    stored = torch.load(tmp_path / "by_hand.ckpt", weights_only=True)
    assert same(stored["current_model_state"], record.seen[-1])
    assert not same(stored["state_dict"], record.seen[-1])


def test_documented_calls_log_no_warning(make_trainer, every_epoch, caplog):
    with caplog.at_level(logging.INFO, logger="pytorch_lightning"):
        saved = every_epoch()
        trainer = make_trainer(average(), saved)
        trainer.fit(task := make_task(), make_data())
        for run in (trainer.test, trainer.validate, trainer.predict):
            run(task, make_data(), ckpt_path=saved.best_model_path, weights_only=True)
        trainer.save_checkpoint(Path(saved.dirpath) / "x.ckpt")
        other = make_trainer(average())
        other.test(
            fresh(saved.best_model_path), make_data(), ckpt_path=saved.best_model_path, weights_only=True
        )
    assert "WeightAveraging" not in caplog.text
    assert "current_model_state" not in caplog.text


def test_weights_only_checkpoint_is_refused(make_trainer, every_epoch):
    trainer = make_trainer(average(), every_epoch(save_weights_only=True))
    with pytest.raises(ValueError, match="save_weights_only=True"):
        trainer.fit(make_task(), make_data())
