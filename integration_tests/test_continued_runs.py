"""A continued run equals an uninterrupted run. If its options changed, it requires a choice of schedule."""

import csv
import os
import random
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from matsciml.cli import main
from mml_models import SchNet
from mml_models.embeddings import Embeddings
from pytorch_lightning import Callback, LightningModule
from support import mpiexec
from torch import nn

TINY = [
    "--data.init_args.batch_size=2",
    "--trainer.limit_train_batches=4",
    "--trainer.limit_val_batches=2",
    "--trainer.limit_test_batches=2",
]
DROPOUT = [
    "--model.init_args.encoder=test_continued_runs.SchNetWithDropout",
    "--model.init_args.encoder.hidden_dim=16",
    "--model.init_args.encoder.output_dim=16",
    "--model.init_args.scheduler_kwargs=null",
]


class SchNetWithDropout(SchNet):
    """SchNet with dropout, whose rate depends on random numbers of Python and NumPy."""

    def forward(self, batch):
        found = super().forward(batch).point_embedding
        rate = 0.3 + 0.1 * random.random() + 0.1 * np.random.rand()  # noqa: NPY002
        atoms = nn.functional.dropout(found, rate, self.training)
        graph = batch["graph"]
        system = atoms.new_zeros(graph.num_graphs, atoms.shape[1]).index_add(0, graph.batch, atoms)
        return Embeddings(system, atoms)


class DrawsNumbers(Callback):
    """Callback that draws random numbers in the hooks before training."""

    def __init__(self, times: int = 1) -> None:
        self.times = times

    def draw(self, *_):
        torch.rand(self.times)
        random.random()

    on_train_start = on_sanity_check_start = on_fit_start = draw


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def fit(*arguments, name="fit"):
    return main(["fit", "--name", name, *TINY, *arguments])


def go_on(*arguments, name="fit"):
    return main(["fit", "--name", name, "--ckpt_path", "last", *arguments])


def load(name, run="fit"):
    return torch.load(Path("runs") / run / "checkpoints" / name, weights_only=True)


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def config(run="fit"):
    return yaml.safe_load((Path("runs") / run / "config.yaml").read_text())


def losses(run="fit"):
    with (Path("runs") / run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [
        (row["step"], key, row[key]) for key in ("train_loss", "val_loss") for row in rows if row.get(key)
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return the weights and the losses of an uninterrupted run of two epochs with dropout."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("whole")
        patch.chdir(folder)
        assert fit("--trainer.max_epochs=2", *DROPOUT) == 0
        return load("last.ckpt")["state_dict"], losses()


def test_dropout_continues_within_epoch(whole):
    asks = [
        "--trainer.callbacks+=support.SignalAtStep",
        "--trainer.callbacks.step=1",
        f"--trainer.callbacks.signum={int(signal.SIGINT)}",
    ]
    assert fit("--trainer.max_epochs=2", *DROPOUT, *asks) == 128 + signal.SIGINT
    assert load("last.ckpt")["global_step"] == 2
    draws = ["--trainer.callbacks+=test_continued_runs.DrawsNumbers", "--trainer.callbacks.times=3"]
    assert go_on("--trainer.callbacks.step=99", *draws) == 0
    assert same(load("last.ckpt")["state_dict"], whole[0])
    assert losses() == whole[1]


def test_dropout_continues_between_epochs(whole):
    assert fit("--trainer.max_epochs=1", *DROPOUT) == 0
    draws = ["--trainer.callbacks+=test_continued_runs.DrawsNumbers", "--trainer.callbacks.times=3"]
    assert go_on("--trainer.max_epochs=2", "--schedule=keep", *draws) == 0
    assert same(load("last.ckpt")["state_dict"], whole[0])
    assert losses() == whole[1]
    first = Path("runs/fit/config.yaml").read_text().splitlines()[0]
    assert "continued from last.ckpt at step 4, --schedule keep; trainer.callbacks: [] -> [" in first
    assert first.endswith("DrawsNumbers']; trainer.max_epochs: 1 -> 2")


def test_plateau_scheduler_continues_between_epochs():
    """The scheduler steps after the checkpoint of the epoch is written."""
    falls = "{ReduceLROnPlateau: {patience: 0, factor: 0.5, threshold: 0.9, cooldown: 0}}"
    options = [f"--model.init_args.scheduler_kwargs={falls}"]
    assert fit("--trainer.max_epochs=4", *options, name="whole") == 0
    assert fit("--trainer.max_epochs=2", *options) == 0
    assert go_on("--trainer.max_epochs=3", "--schedule=keep") == 0
    assert go_on("--trainer.max_epochs=4", "--schedule=keep") == 0
    assert load("last.ckpt", "whole")["optimizer_states"][0]["param_groups"][0]["lr"] < 0.005
    assert same(load("last.ckpt")["state_dict"], load("last.ckpt", "whole")["state_dict"])
    one, other = (load("last.ckpt", run)["lr_schedulers"] for run in ("fit", "whole"))
    assert one == other


def test_early_stopping_continues_between_epochs():
    stops = ["--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor=val_loss"]
    stops += ["--trainer.callbacks.patience=1", "--trainer.callbacks.min_delta=9", *DROPOUT[-1:]]
    assert fit("--trainer.max_epochs=1", *stops) == 0
    assert go_on("--trainer.max_epochs=9") == 0
    assert load("last.ckpt")["epoch"] == 1, "the second epoch is the first without an improvement"


def test_longer_run_requires_schedule(capsys):
    assert fit("--trainer.max_epochs=1") == 0
    before = {path: path.read_bytes() for path in Path("runs/fit").rglob("*.*")}
    assert go_on("--trainer.max_epochs=2") == 1
    said = capsys.readouterr().err
    for part in ("OneCycleLR total_steps is 4", "--schedule", "restart", "stretch", "keep"):
        assert part in said
    assert go_on("--trainer.max_epochs=2", "--model.init_args.lr=0.0001") == 1
    assert "--init_from" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in Path("runs/fit").rglob("*.*")} == before
    assert go_on("--trainer.max_epochs=2", "--model.init_args.lr=0.0001", "--schedule=restart") == 0
    assert load("last.ckpt")["lr_schedulers"][0]["total_steps"] == 4
    assert load("last.ckpt")["optimizer_states"][0]["param_groups"][0]["max_lr"] == pytest.approx(1e-4)
    text = Path("runs/fit/config.yaml").read_text()
    assert "--schedule restart; trainer.max_epochs: 1 -> 2; model.init_args.lr: 0.005 -> 0.0001" in text
    assert config()["model"]["init_args"]["lr"] == 0.0001
    assert config()["ckpt_path"] is None, "the config must repeat the whole run"
    assert go_on("--trainer.max_epochs=3", "--schedule=stretch") == 0
    # The schedule that was restarted after 4 steps is stretched over the other 8.
    assert load("last.ckpt")["lr_schedulers"][0]["total_steps"] == 8
    assert "--schedule stretch; trainer.max_epochs: 2 -> 3" in Path("runs/fit/config.yaml").read_text()


def test_init_from_loads_only_weights(capsys):
    assert fit("--trainer.max_epochs=1") == 0
    started = load("best.ckpt")["state_dict"]
    new = ["--init_from=best", "--model.init_args.lr=0", "--model.init_args.scheduler_kwargs=null"]
    assert main(["fit", *new]) == 1
    assert "keep uses the mean and spread" in capsys.readouterr().err
    assert not Path("runs/fit-2").exists()
    assert main(["fit", *new, "--normalizer=keep"]) == 0
    assert "the weights of runs/fit/checkpoints/best.ckpt, --normalizer keep" in capsys.readouterr().out
    assert same(load("last.ckpt", "fit-2")["state_dict"], started), "weights must not change with lr 0"
    assert load("last.ckpt", "fit-2")["global_step"] == 4
    assert config("fit-2")["init_from"] == "runs/fit/checkpoints/best.ckpt"
    assert config("fit-2")["normalizer"] == "keep"
    assert main(["fit", *new, "--normalizer=refit"]) == 0
    weights = load("last.ckpt", "fit-3")["state_dict"]
    assert all(
        torch.equal(weights[key], started[key]) for key in started if not key.startswith("normalizers")
    )
    assert config("fit-3")["normalizer"] == "refit"


def test_foreign_module_is_refused(capsys):
    assert fit("--trainer.max_epochs=1") == 0
    for option, said in (
        (["--init_from=best", "--normalizer=keep"], "requires a task with a method start_from"),
        (["--ckpt_path=last", "--schedule=keep"], "requires a task with an attribute resume_schedule"),
    ):
        assert (
            main(["fit", "--config", "runs/fit/config.yaml", "--model=test_continued_runs.Bare", *option])
            == 1
        )
        assert said in capsys.readouterr().err


class Bare(LightningModule):
    """Module of a user, without the methods of a task."""


@pytest.mark.slow
def test_ranks_continue_own_random_numbers(tmp_path, monkeypatch):
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    two = ["--trainer.strategy=ddp_with_mpi", "--trainer.devices=2", "--trainer.accelerator=cpu"]
    new = [*TINY, *two, *DROPOUT, "--trainer.max_epochs=1"]
    asks = ["--trainer.callbacks+=support.SignalAtStep", "--trainer.callbacks.step=1"]
    for arguments in (
        ["--name=whole", *new],
        ["--name=fit", *new, *asks],
        ["--ckpt_path=last", "--trainer.callbacks.step=99"],
    ):
        status, output = mpiexec(2, "-m", "matsciml", "fit", *arguments, folder=tmp_path)
        assert status == 0 or "SIGTERM after step 2" in output, output
    states = load("last.ckpt", "fit")["callbacks"]["RandomState"]["ranks"]
    assert len(states) == 2
    assert not torch.equal(states[0]["torch"], states[1]["torch"])
    assert same(load("last.ckpt")["state_dict"], load("last.ckpt", "whole")["state_dict"])
