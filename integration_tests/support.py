"""Helpers of several tests, and callbacks that their configs refer to."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from matsciml.cli import main
from mml_data import MatSciMLDataModule
from mml_graphs import PeriodicPropertiesTransform, PointCloudToGraphTransform
from mml_tasks import ForceRegressionTask
from pytorch_lightning import Callback

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
QUICK = [
    "--trainer.max_epochs=2",
    "--trainer.limit_train_batches=8",
    "--trainer.limit_val_batches=2",
    "--trainer.limit_test_batches=3",
    "--trainer.enable_progress_bar=false",
]

needs_shared = pytest.mark.skipif(
    not (SHARED / "data").is_dir(), reason="the real structures (../shared/data) are not beside this checkout"
)


class SignalAtStep(Callback):
    """Callback that sends this process a signal during a given optimizer step, counted from zero."""

    def __init__(self, step: int, signum: int = int(signal.SIGTERM)) -> None:
        self.step, self.signum = step, signum

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), self.signum)


def make_task(**options: Any) -> ForceRegressionTask:
    """Create a small task for energy and forces, with the same weights in each call."""
    torch.manual_seed(0)
    encoder = {"hidden_dim": 16, "output_dim": 16, "num_conv": 1, "cutoff": 4.0}
    arguments = {"normalize_kwargs": "auto", "lr": 1e-2} | options
    return ForceRegressionTask(encoder_class="mml_models.SchNet", encoder_kwargs=encoder, **arguments)


def make_data() -> MatSciMLDataModule:
    """Create a data module of the embedded data set `emt`, with the edges that `make_task` needs."""
    transforms = [PeriodicPropertiesTransform(4.0, adaptive_cutoff=True), PointCloudToGraphTransform("pyg")]
    return MatSciMLDataModule("emt", batch_size=8, val_split=0.1, seed=0, transforms=transforms)


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Return the model's state in a checkpoint."""
    return torch.load(checkpoint, weights_only=True)["state_dict"]


def fit(*arguments: str, name: str = "fit", quick: list[str] = QUICK) -> int:
    """Run a short `matsciml fit` in this process and in the current directory."""
    return main(["fit", "--name", name, *quick, *arguments])


def launch(*command: object, folder: Path = ROOT, deadline: float = 240) -> tuple[int, str]:
    """Run a command like a user, and return its exit status and output. At the deadline, kill it and fail.

    The programs of this Python environment take precedence. The variables of an outer launcher are removed.
    """
    outer = ("MASTER_", "LOCAL_RANK", "PMI", "OMPI_COMM", "SLURM", "PALS", "HYDRA", "MPI_LOCAL", "NODE_RANK")
    env = {name: value for name, value in os.environ.items() if not name.startswith(outer)}
    loopback = "lo" if sys.platform == "linux" else "lo0"
    path = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    env |= {"PATH": path, "GLOO_SOCKET_IFNAME": loopback, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*map(str, command)],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=deadline)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # the proxy of mpiexec then ends the ranks
        pytest.fail(
            f"{shlex.join(map(str, command))} did not end in {deadline} s:\n{process.communicate()[0]}"
        )
    return process.returncode, output


def mpiexec(ranks: int, *arguments: object, folder: Path = ROOT, deadline: float = 240) -> tuple[int, str]:
    """Run Python on several ranks, and return the exit status and the output."""
    launcher = Path(sys.executable).with_name("mpiexec")
    if not launcher.exists():
        pytest.fail(f"{launcher} is not installed: `uv sync` installs it (mpich, in the group test)")
    return launch(launcher, "-n", ranks, sys.executable, *arguments, folder=folder, deadline=deadline)
