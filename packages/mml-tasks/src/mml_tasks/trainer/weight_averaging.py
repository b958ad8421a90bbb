"""Make Lightning's weight averaging work with tasks that are built from their data."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning import callbacks


def copy_again(trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
    """Let callbacks that average weights copy the module again once it has all of its parts.

    Lightning 2.6 calls the ``setup`` of callbacks, which copies the module as the initial average, before the
    ``setup`` of the module. Heads of targets that were inferred from the data, and statistics of normalizers,
    would be missing in the average. Older versions of Lightning do not have this callback. If a task is part
    of another module, that module calls this function instead.
    """
    if trainer.lightning_module is not module:
        return
    kind: Any = (callbacks.StochasticWeightAveraging, getattr(callbacks, "WeightAveraging", ()))
    for callback in getattr(trainer, "callbacks", []):
        if isinstance(callback, kind):
            callback.setup(trainer, module, stage)
