"""Count the missing labels of an epoch over all ranks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mml_tasks.trainer.ranks import sum_over_ranks


class MissingLabels:
    """Counts of one stage: rows of a target (structures or atoms) without a label, and all rows.

    In training, the counts of each batch are summed over ranks together with the other sums of the step. They
    cannot be summed at the end of a training epoch: there, the progress bar of rank zero computes metrics,
    which are reductions as well, while the other ranks do not.
    """

    def __init__(self) -> None:
        self._counts: dict[str, list[int]] = {}
        self._summed: Tensor | None = None

    def add(self, key: str, target: Tensor) -> None:
        """Count the rows of a batch on the host; a row is missing if any of its components is NaN."""
        counts = self._counts.setdefault(key, [0, 0])
        if target.is_floating_point():
            counts[0] += int(
                torch.isnan(target).flatten(1).any(1).sum() if target.dim() > 1 else torch.isnan(target).sum()
            )
        counts[1] += target.shape[0]

    def of_batch(self, keys: Sequence[str]) -> Tensor:
        """Return the counts that are not yet summed over ranks, [2 * len(keys)], and reset them."""
        counts = [number for key in keys for number in self._counts.pop(key, (0, 0))]
        return torch.tensor(counts, dtype=torch.float64)

    def add_sums(self, sums: Tensor) -> None:
        """Add counts from `of_batch` that were summed over ranks."""
        self._summed = sums if self._summed is None else self._summed + sums

    def sums(self) -> Tensor | None:
        """Return the sums of the epoch so far, for a checkpoint."""
        return self._summed

    def reset(self) -> None:
        """Reset all counts."""
        self._counts, self._summed = {}, None

    def take_sums(self, keys: Sequence[str]) -> dict[str, tuple[int, int]]:
        """Return (missing, rows) of each target from the sums, and reset all counts."""
        numbers = [0] * (2 * len(keys)) if self._summed is None else self._summed.tolist()
        self.reset()
        return {key: (round(numbers[2 * i]), round(numbers[2 * i + 1])) for i, key in enumerate(keys)}

    def take(self, keys: Sequence[str], device: torch.device) -> dict[str, tuple[int, int]]:
        """Return (missing, rows) of each target over all ranks, and reset them; every rank must call this."""
        counts = self.of_batch(keys).to(torch.int64)
        self.add_sums(sum_over_ranks(counts.to(device)))
        return self.take_sums(keys)
