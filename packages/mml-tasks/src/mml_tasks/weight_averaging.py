"""What Lightning's averaging of weights needs from a task that is completed by its data."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning import callbacks


def copy_again(trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
    """Let callbacks that average weights copy the module once more, now that it has all its parts.

    Lightning 2.6 calls the ``setup`` of callbacks, where the average is made as a copy of the module, before
    that of the module: heads of targets that were taken from the data, and numbers of normalisers, would be
    missing in the average. Older Lightnings have no such callback. A task inside another module leaves it to
    that.
    """
    if trainer.lightning_module is not module:
        return
    kind: Any = (callbacks.StochasticWeightAveraging, getattr(callbacks, "WeightAveraging", ()))
    for callback in getattr(trainer, "callbacks", []):
        if isinstance(callback, kind):
            callback.setup(trainer, module, stage)
