"""Predictions of one batch, outside a trainer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities import move_data_to_device
from torch import nn


def predict_batch(task: pl.LightningModule, batch: Mapping[str, Any]) -> Any:
    """Return what ``predict_step`` makes of a batch, in evaluation mode, without gradients.

    The batch goes to the device of the task; modes of the task's modules are as before afterwards.
    """
    with evaluation_mode(task), torch.no_grad():
        return task.predict_step(move_data_to_device(batch, task.device), 0)


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Set evaluation mode, and afterwards the mode that each module had."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True
