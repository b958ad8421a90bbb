"""`matsciml fit` writes best.ckpt and last.ckpt beside any other checkpoints, and continues from them."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import matsciml
import pytest
import torch
from matsciml.cli import main
from support import SignalAtStep

TINY = [
    "--data.init_args.batch_size=2",
    "--trainer.limit_train_batches=4",
    "--trainer.limit_val_batches=2",
    "--trainer.limit_test_batches=2",
    "--trainer.log_every_n_steps=1",
]
LEARNS_ONCE = [
    "--model.init_args.lr=0.1",
    "--model.init_args.scheduler_kwargs=null",
    "--trainer.max_epochs=4",
]
"""Options with which the loss is lowest in the first epochs, so that the best state is not the newest."""


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def fit(*arguments):
    return main(["fit", *TINY, *arguments])


def load(name, run="fit"):
    return torch.load(Path("runs") / run / "checkpoints" / name, weights_only=True)


def rows(run="fit", key="val_loss"):
    with (Path("runs") / run / "metrics.csv").open() as file:
        return [(int(row["step"]), float(row[key])) for row in csv.DictReader(file) if row.get(key)]


def summary(run="fit"):
    return json.loads((Path("runs") / run / "summary.json").read_text())


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.slow
def test_killed_run_continues_from_newest_epoch():
    """A killed process loses only the steps since the last epoch."""
    rates = ["--trainer.callbacks+=LearningRateMonitor", "--trainer.callbacks.logging_interval=step"]
    kill = [
        "--trainer.callbacks+=support.SignalAtStep",
        "--trainer.callbacks.init_args.step=14",
        f"--trainer.callbacks.init_args.signum={int(signal.SIGKILL)}",
    ]
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "matsciml", "fit", *TINY, *LEARNS_ONCE, *rates, *kill]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert load("last.ckpt")["global_step"] == 12
    assert load("best.ckpt")["global_step"] < 12
    assert max(step for step, _ in rows(key="lr-AdamW")) > 12, "later steps must have been logged"
    assert main(["fit", "--ckpt_path", "last", "--trainer.callbacks.init_args.step=99"]) == 0
    assert fit("--name", "whole", *LEARNS_ONCE, *rates) == 0
    assert same(load("last.ckpt")["state_dict"], load("last.ckpt", "whole")["state_dict"])
    for key in ("val_loss", "train_loss", "lr-AdamW"):
        assert rows(key=key) == rows("whole", key)
    assert "callbacks.4.init_args.step: 14 -> 99" in Path("runs/fit/config.yaml").read_text()


def test_checkpoint_callbacks_of_config_are_used():
    metric = "emt/force"
    callbacks = f"""
- {{class_path: mml_diagnostics.ThroughputCallback}}
- class_path: pytorch_lightning.callbacks.ModelCheckpoint
  init_args: {{filename: "{{epoch}}-{{{metric}:.3f}}", save_last: true, save_top_k: -1}}
- class_path: pytorch_lightning.callbacks.ModelCheckpoint
  init_args: {{dirpath: mine, filename: worst, monitor: val_loss, mode: max, save_weights_only: true}}
"""
    Path("more.yaml").write_text("trainer:\n  callbacks:" + callbacks.replace("\n", "\n    ") + "\n")
    default = ["--config", str(Path(matsciml.__file__).parent / "configs" / "emt.yaml")]
    assert main(["fit", *default, "--config", "more.yaml", *TINY, *LEARNS_ONCE]) == 0
    names = {str(p.relative_to("runs/fit/checkpoints")) for p in Path("runs/fit/checkpoints").rglob("*")}
    theirs = {f"epoch={epoch}-emt_force=0.000.ckpt" for epoch in range(4)}
    assert names == {"best.ckpt", "last.ckpt", "last-saved.ckpt", *theirs}
    losses = [loss for _, loss in rows()]
    assert load("best.ckpt")["epoch"] == losses.index(min(losses))
    assert "optimizer_states" in load("last.ckpt")
    assert torch.load("mine/worst.ckpt", weights_only=True)["epoch"] == losses.index(max(losses))
    assert summary()["checkpoint"] == "runs/fit/checkpoints/best.ckpt"
    assert main(["fit", "--ckpt_path", "last", "--trainer.max_epochs=5"]) == 0
    assert load("last.ckpt")["epoch"] == 4


@pytest.mark.parametrize("name", ["best", "last"])
def test_overwriting_callback_is_refused(name, capsys):
    own = ["--trainer.callbacks+=ModelCheckpoint", f"--trainer.callbacks.init_args.filename={name}"]
    assert fit(*own) == 1
    assert f"would overwrite the run's own {name}.ckpt" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_disabled_checkpointing_saves_nothing(capsys):
    assert fit("--trainer.max_epochs=1", "--trainer.enable_checkpointing=false") == 0
    assert not Path("runs/fit/checkpoints").exists()
    assert "the weights of the last step are tested" in " ".join(capsys.readouterr().out.split())
    assert summary()["checkpoint"] is None
    signal_ = ["--trainer.callbacks+=support.SignalAtStep", "--trainer.callbacks.init_args.step=1"]
    assert fit("--trainer.enable_checkpointing=false", *signal_) == 128 + signal.SIGTERM
    shown = " ".join(capsys.readouterr().out.split())
    assert "saved nothing, because trainer.enable_checkpointing is false" in shown
    assert "--ckpt_path last" not in shown


def test_last_is_tested_without_validation(caplog):
    assert fit("--trainer.max_epochs=2", "--trainer.limit_val_batches=0") == 0
    assert [p.name for p in Path("runs/fit/checkpoints").iterdir()] == ["last.ckpt"]
    assert "the run writes no best.ckpt" in caplog.text
    reported = summary()["test"]["force"]["mae"]
    assert main(["test", "--ckpt_path", "last", "--trainer.limit_test_batches=2"]) == 0
    assert summary("fit-test")["test"]["force"]["mae"] == pytest.approx(reported, rel=1e-6)


def test_killed_run_continues_from_validation():
    """A run that is killed after a validation within an epoch continues to the same weights."""
    often = ["--trainer.val_check_interval=2", "--trainer.max_epochs=2", "--trainer.limit_train_batches=4"]
    stop = ["--trainer.callbacks+=test_run_checkpoints.StopHard", "--trainer.callbacks.init_args.step=7"]
    with pytest.raises(SystemExit):
        fit(*often, *stop)
    assert load("last.ckpt")["global_step"] == 6
    assert main(["fit", "--ckpt_path", "last", "--trainer.callbacks.init_args.step=99"]) == 0
    assert fit("--name", "whole", *often) == 0
    assert same(load("last.ckpt")["state_dict"], load("last.ckpt", "whole")["state_dict"])
    assert rows() == rows("whole")


class StopHard(SignalAtStep):
    """Callback that ends the run immediately, like a crash, without saving."""

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        if trainer.global_step == self.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    "interval", [[], ["--trainer.val_check_interval=2"], ["--trainer.val_check_interval=3"]]
)
def test_stop_waits_for_accumulation_window(interval):
    options = [
        "--trainer.accumulate_grad_batches=2",
        "--trainer.limit_train_batches=8",
        "--trainer.max_epochs=1",
        *interval,
    ]
    asks = ["--trainer.callbacks+=test_run_checkpoints.SignalAtBatch"]
    assert fit(*options, *asks) == 128 + signal.SIGTERM
    stopped = load("last.ckpt")
    assert stopped["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["ready"] % 2 == 0
    assert main(["fit", "--ckpt_path", "last", "--trainer.callbacks.init_args.batch=99"]) == 0
    assert fit("--name", "whole", *options) == 0
    assert same(load("last.ckpt")["state_dict"], load("last.ckpt", "whole")["state_dict"])


class SignalAtBatch(SignalAtStep):
    """Callback that sends a signal in the first batch of an accumulation window."""

    def __init__(self, batch: int = 2) -> None:
        self.batch = batch

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        """Do nothing, because this callback counts batches."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx == self.batch:
            os.kill(os.getpid(), signal.SIGTERM)
