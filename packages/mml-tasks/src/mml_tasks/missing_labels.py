"""How many labels of an epoch are missing, over all ranks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mml_tasks.ranks import sum_over_ranks


class MissingLabels:
    """Counts of one stage: rows of a target (structures, or atoms) without a label, and rows in all.

    While training, the counts of each batch are summed over ranks together with the step's other sums, since
    the end of a training epoch is no place for a reduction: there, the progress bar of rank zero computes
    metrics, which are reductions too, while the other ranks do not.
    """

    def __init__(self) -> None:
        self._counts: dict[str, list[int]] = {}
        self._summed: Tensor | None = None

    def add(self, key: str, target: Tensor) -> None:
        """Count a batch's rows; a row lacks its label if any component does. The target is on the host."""
        counts = self._counts.setdefault(key, [0, 0])
        if target.is_floating_point():
            counts[0] += int(
                torch.isnan(target).flatten(1).any(1).sum() if target.dim() > 1 else torch.isnan(target).sum()
            )
        counts[1] += target.shape[0]

    def of_batch(self, keys: Sequence[str]) -> Tensor:
        """Return the counts that are not summed over ranks yet, [2 * len(keys)], and forget them."""
        counts = [number for key in keys for number in self._counts.pop(key, (0, 0))]
        return torch.tensor(counts, dtype=torch.float64)

    def add_sums(self, sums: Tensor) -> None:
        """Add counts that `of_batch` returned, summed over ranks."""
        self._summed = sums if self._summed is None else self._summed + sums

    def sums(self) -> Tensor | None:
        """Return the sums of the epoch so far, for a checkpoint."""
        return self._summed

    def reset(self) -> None:
        """Forget all counts."""
        self._counts, self._summed = {}, None

    def take_sums(self, keys: Sequence[str]) -> dict[str, tuple[int, int]]:
        """Return (missing, rows) of each target from the sums, and start anew."""
        numbers = [0] * (2 * len(keys)) if self._summed is None else self._summed.tolist()
        self.reset()
        return {key: (round(numbers[2 * i]), round(numbers[2 * i + 1])) for i, key in enumerate(keys)}

    def take(self, keys: Sequence[str], device: torch.device) -> dict[str, tuple[int, int]]:
        """Return (missing, rows) of each target over all ranks, and start anew; every rank must call this."""
        counts = self.of_batch(keys).to(torch.int64)
        self.add_sums(sum_over_ranks(counts.to(device)))
        return self.take_sums(keys)
