"""Predict a batch without a trainer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities import move_data_to_device
from mml_samples import Batch
from torch import nn


def predict_batch(task: pl.LightningModule, batch: Batch) -> Any:
    """Return the output of ``predict_step`` for a batch, in evaluation mode and without gradients.

    The batch is moved to the device of the task. Afterwards, each module of the task is in its previous mode.
    """
    with evaluation_mode(task), torch.no_grad():
        return task.predict_step(move_data_to_device(batch, task.device), 0)


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Set evaluation mode within a context, and restore the mode of each submodule afterwards."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True
