"""Stop a fit between two steps on Ctrl-C or SIGTERM, with a checkpoint from which it can continue."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from pytorch_lightning import Callback, LightningModule, Trainer

from matsciml.runs.run_checkpoints import LastCheckpoint, within_window


class TrainingInterrupted(Exception):  # noqa: N818  an interruption is requested, not an error
    """Raised after a fit was requested to stop and has saved its state.

    Attributes
    ----------
    signum : int
        Number of the signal that requested the stop.
    checkpoint : Path or None
        Checkpoint with the saved state. None if checkpoints are disabled.
    """

    def __init__(self, signum: int, step: int, checkpoint: Path | None) -> None:
        self.signum = signum
        self.checkpoint = checkpoint
        saved = (
            f"saved the state in {checkpoint}"
            if checkpoint
            else "saved nothing, because trainer.enable_checkpointing is false"
        )
        super().__init__(f"stopped by {signal.Signals(signum).name} after step {step}; {saved}")


class GracefulInterruption(Callback):
    """Callback that finishes the step, saves and stops on the first SIGINT or SIGTERM.

    A second signal stops the fit immediately. The step is finished first, because a continued run equals an
    uninterrupted run only if it starts from a state between two steps. If gradients are accumulated over
    several batches, a step ends with the last of them. All ranks stop after the same step.

    Parameters
    ----------
    last
        Callback that saves the state. None stops without saving.
    """

    def __init__(self, last: LastCheckpoint | None) -> None:
        self.last = last
        self._signum: int | None = None
        self._previous: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Install handlers for both signals. Only the main thread may do this."""
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGINT, signal.SIGTERM):
                self._previous[signum] = signal.signal(signum, self._note)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if self._signum is not None:
            raise KeyboardInterrupt
        self._signum = signum

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Save and stop if a signal has arrived. If a validation follows this batch, stop one step later."""
        if within_window(trainer, batch_idx) or _validation_follows(trainer, batch_idx):
            return
        asked = self._signum is not None
        if trainer.world_size > 1:
            asked = trainer.strategy.reduce_boolean_decision(asked, all=False)
        if asked:
            if self.last is not None:
                self.last.save(trainer)
            path = self.last.path if self.last is not None else None
            raise TrainingInterrupted(self._signum or signal.SIGTERM, trainer.global_step, path)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Restore the previous signal handlers."""
        self._restore()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Restore the previous signal handlers."""
        self._restore()

    def _restore(self) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)
        self._previous = {}


def _validation_follows(trainer: Trainer, batch_idx: int) -> bool:
    """Return whether Lightning validates after this batch. A fit that stops here would never run it.

    Validations between two batches are ignored if one follows every optimizer step, because the fit would
    otherwise never stop.
    """
    every = trainer.val_check_batch
    if trainer.check_val_every_n_epoch is None:
        batch_idx = trainer.fit_loop.total_batch_idx
    between = (
        every is not None
        and every < math.inf
        and trainer.accumulate_grad_batches % int(every) != 0
        and (batch_idx + 1) % int(every) == 0
    )
    return bool(trainer.is_last_batch or between)
