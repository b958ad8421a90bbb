"""Ctrl-C and SIGTERM end a fit between two steps, with a checkpoint that continues where it stopped."""

from __future__ import annotations

import math
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer


class TrainingInterrupted(Exception):  # noqa: N818  it is asked for, not an error
    """A fit was asked to stop and has saved its state.

    Attributes
    ----------
    signum : int
        The signal that asked.
    checkpoint : Path
        Where the state is.
    """

    def __init__(self, signum: int, step: int, checkpoint: Path) -> None:
        self.signum = signum
        self.checkpoint = checkpoint
        super().__init__(f"{signal.Signals(signum).name} after step {step}: state saved in {checkpoint}")


class GracefulInterruption(Callback):
    """Turns the first SIGINT or SIGTERM into "finish this step, save, stop"; a second one ends at once.

    The step is finished first because a state between two steps is the only one from which a continued run
    equals an uninterrupted one. All ranks stop after the same step.

    Parameters
    ----------
    checkpoint
        Where the state is saved.
    """

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint
        self._signum: int | None = None
        self._previous: dict[int, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over both signals; only the main thread may."""
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGINT, signal.SIGTERM):
                self._previous[signum] = signal.signal(signum, self._note)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if self._signum is not None:
            raise KeyboardInterrupt
        self._signum = signum

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save and stop if a signal has come; where a validation is due now, one step after it."""
        if _validation_follows(trainer, batch_idx):
            return
        asked = self._signum is not None
        if trainer.world_size > 1:
            asked = trainer.strategy.reduce_boolean_decision(asked, all=False)
        if asked:
            trainer.save_checkpoint(self.checkpoint)
            raise TrainingInterrupted(self._signum or signal.SIGTERM, trainer.global_step, self.checkpoint)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the signals back."""
        self._restore()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Give the signals back."""
        self._restore()

    def _restore(self) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)
        self._previous = {}


def _validation_follows(trainer: Trainer, batch_idx: int) -> bool:
    """Say whether Lightning validates after this batch: it would not do so again when the fit goes on."""
    every = trainer.val_check_batch
    between = every is not None and 1 < every < math.inf and (batch_idx + 1) % int(every) == 0
    return bool(trainer.is_last_batch or between)
