"""Name the stage in which a trainer is."""

from __future__ import annotations

from typing import Literal, TypeAlias

import pytorch_lightning as pl

Stage: TypeAlias = Literal["train", "val", "test", "predict"]


def stage_of(trainer: pl.Trainer) -> Stage:
    """Return the stage of a running trainer. The sanity check before a fit belongs to ``"val"``."""
    if trainer.predicting:
        return "predict"
    if trainer.training:
        return "train"
    return "test" if trainer.testing else "val"
