"""Save the sums of an interrupted epoch in checkpoints, so that its training loss is exact."""

from __future__ import annotations

from typing import TypedDict

import torch
import torch.distributed as dist
from torch import Tensor, nn

from mml_tasks.losses.loss_metrics import loss_metric
from mml_tasks.losses.missing_labels import LabelCounts
from mml_tasks.trainer.ranks import sum_over_ranks, world_size

CHECKPOINT_KEY = "epoch_sums"
"""Key of a checkpoint: the sums of the training epoch in which the checkpoint was written."""


class StoredSums(TypedDict):
    """Sums of an epoch in plain types."""

    losses: dict[str, list[float]]
    """State of each loss metric, [2 * targets]; see `MeanLoss.sums`."""
    missing: list[float] | None
    """Counts of missing labels; see `LabelCounts.sums`."""


class EpochSums:
    """Sums from a checkpoint, kept until the first step of the resumed run restores them."""

    def __init__(self) -> None:
        self._stored: StoredSums | None = None

    def keep(self, stored: StoredSums | None) -> None:
        """Keep the sums of a checkpoint."""
        self._stored = stored

    def take(self) -> StoredSums | None:
        """Return the sums and discard them, so that they are restored only once."""
        stored, self._stored = self._stored, None
        return stored

    @staticmethod
    def of(metrics: nn.ModuleDict, missing: LabelCounts) -> StoredSums:
        """Return the sums over all ranks in plain types; every rank must call this."""
        names = [name for name in metrics if name.startswith("train_")]
        parts = [loss_metric(metrics, name).sums() for name in names]
        sums = sum_over_ranks(torch.cat([part.flatten() for part in parts])) if parts else torch.zeros(0)
        split = sums.split([part.numel() for part in parts])
        stored = {name: part.tolist() for name, part in zip(names, split, strict=True)}
        counts = missing.sums()
        return {"losses": stored, "missing": None if counts is None else counts.tolist()}

    @staticmethod
    def restore(stored: StoredSums, metrics: nn.ModuleDict, missing: LabelCounts) -> None:
        """Restore sums of all ranks: rank zero continues from these losses, the other ranks from zero."""
        first = world_size() == 1 or dist.get_rank() == 0
        for name, sums in stored["losses"].items():
            if name in metrics:
                metric = loss_metric(metrics, name)
                metric.restore(torch.tensor(sums, dtype=torch.float64).view(2, -1) * first)
        if stored["missing"] is not None:
            missing.reset()
            missing.add_sums(torch.tensor(stored["missing"], device=_device(metrics)))


def _device(metrics: nn.ModuleDict) -> torch.device:
    found: list[Tensor] = [loss_metric(metrics, name).totals for name in metrics]
    return found[0].device
