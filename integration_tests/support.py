"""What several tests use, and callbacks that configs of the tests name."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from matsciml.cli import main
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
    """Sends this process a signal while it is in the middle of a given optimizer step, counted from zero."""

    def __init__(self, step: int, signum: int = int(signal.SIGTERM)) -> None:
        self.step, self.signum = step, signum

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), self.signum)


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Return the model's state in a checkpoint."""
    return torch.load(checkpoint, weights_only=True)["state_dict"]


def fit(*arguments: str, name: str = "fit", quick: list[str] = QUICK) -> int:
    """Run `matsciml fit` in this process, quickly, in the current directory."""
    return main(["fit", "--name", name, *quick, *arguments])
