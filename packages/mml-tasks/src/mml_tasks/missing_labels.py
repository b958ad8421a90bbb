"""How many labels were missing, by target, over an epoch and all ranks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mml_tasks.ranks import sum_over_ranks


class MissingLabels:
    """Counts of one stage: rows of a target (structures, or atoms) without a label, and rows in all."""

    def __init__(self) -> None:
        self._counts: dict[str, list[int]] = {}

    def add(self, key: str, target: Tensor) -> None:
        """Count a batch's rows; a row lacks its label if any component does. The target is on the host."""
        counts = self._counts.setdefault(key, [0, 0])
        if target.is_floating_point():
            counts[0] += int(
                torch.isnan(target).flatten(1).any(1).sum() if target.dim() > 1 else torch.isnan(target).sum()
            )
        counts[1] += target.shape[0]

    def take(self, keys: Sequence[str], device: torch.device) -> dict[str, tuple[int, int]]:
        """Return (missing, rows) of each target over all ranks, and start anew; every rank must call this."""
        mine = [self._counts.get(key, [0, 0]) for key in keys]
        self._counts = {}
        totals = sum_over_ranks(torch.tensor(mine, dtype=torch.int64, device=device)).tolist()
        return {key: (missing, rows) for key, (missing, rows) in zip(keys, totals, strict=True)}
