"""Count the missing labels of an epoch over all ranks, and report them."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pytorch_lightning as pl
import torch
from torch import Tensor

from mml_tasks.losses.loss_terms import labeled
from mml_tasks.trainer.ranks import sum_over_ranks

logger = logging.getLogger(__name__)


NUMBERS = 3
"""Numbers that are counted for each target."""


class LabelCounts:
    """Counts of one stage: structures that lack a part of a label, all structures, and known components.

    In training, the counts of each batch are summed over ranks together with the other sums of the step. They
    cannot be summed at the end of a training epoch: there, the progress bar of rank zero computes metrics,
    which are reductions as well, while the other ranks do not.
    """

    def __init__(self) -> None:
        self._counts: dict[str, list[int]] = {}
        self._summed: Tensor | None = None

    def add(self, key: str, target: Tensor, natoms: Tensor) -> None:
        """Count the structures of a batch on the host; a label is missing if any of its components is NaN.

        Parameters
        ----------
        key
            Name of the target.
        target
            Labels of the batch, one row per structure or per atom.
        natoms
            Number of atoms of each structure, [B].
        """
        counts = self._counts.setdefault(key, [0] * NUMBERS)
        structures = natoms.shape[0]
        counts[1] += structures
        known = labeled(target)
        counts[2] += int(known.sum())
        rows = known.flatten(1).all(1) if known.dim() > 1 else known
        if rows.all():
            return
        incomplete = (~rows).nonzero().view(-1)
        if rows.shape[0] != structures:
            owner = torch.arange(structures).repeat_interleave(natoms.cpu(), output_size=rows.shape[0])
            incomplete = owner[incomplete]
        counts[0] += incomplete.unique().shape[0]

    def of_batch(self, keys: Sequence[str]) -> Tensor:
        """Return the counts that are not yet summed over ranks, [3 * len(keys)], and reset them."""
        counts = [number for key in keys for number in self._counts.pop(key, (0,) * NUMBERS)]
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

    def take_sums(self, keys: Sequence[str]) -> dict[str, tuple[int, int, int]]:
        """Return the three sums of each target, and reset all counts."""
        numbers = [0.0] * (NUMBERS * len(keys)) if self._summed is None else self._summed.tolist()
        self.reset()
        parts = [[round(number) for number in numbers[i::NUMBERS]] for i in range(NUMBERS)]
        return dict(zip(keys, zip(*parts, strict=True), strict=True))

    def take(self, keys: Sequence[str], device: torch.device) -> dict[str, tuple[int, int, int]]:
        """Return the counts of each target over all ranks, and reset them; every rank must call this."""
        counts = self.of_batch(keys).to(torch.int64)
        self.add_sums(sum_over_ranks(counts.to(device)))
        return self.take_sums(keys)


class MissingLabels:
    """Counts of all stages of a task, and the report at the end of an epoch.

    Attributes
    ----------
    train, val, test
        Counts of each stage.
    """

    def __init__(self) -> None:
        self.train, self.val, self.test = LabelCounts(), LabelCounts(), LabelCounts()
        self._from_first_batch = False

    def begin_batch(self, batch_idx: int) -> None:
        """Note the index of a training batch. A run may continue within an epoch, after its first batch."""
        self._from_first_batch |= batch_idx == 0

    def add(self, stage: str, key: str, target: Tensor, natoms: Tensor) -> None:
        """Count the structures of a batch on the host, see `LabelCounts.add`."""
        self._of(stage).add(key, target, natoms)

    def report(self, task: pl.LightningModule, keys: Sequence[str], stage: str) -> None:
        """Log the structures that lack a part of a label as ``<stage>_<key>_missing``, and reset the counts.

        Parameters
        ----------
        task
            Task that logs the numbers.
        keys
            Targets of the task.
        stage
            ``"train"``, ``"val"`` or ``"test"``.

        Raises
        ------
        ValueError
            If a target has no label in a training epoch over all of the data. After other epochs, this is a
            warning.
        """
        complete = stage == "train" and self._from_first_batch and _uses_all_batches(task.trainer)
        if stage == "train":
            self._from_first_batch = False
        if task.trainer.sanity_checking or not keys:
            return
        counts = self.train.take_sums(keys) if stage == "train" else self._of(stage).take(keys, task.device)
        for key, (missing, structures, labels) in counts.items():
            if not missing:
                continue
            task.log(f"{stage}_{key}_missing", float(missing))
            if labels:
                continue
            message = (
                f"target {key!r} has no label in any of the {structures} structures of this {stage} epoch. "
                "Remove it from task_keys, or add labels"
            )
            if complete:
                raise ValueError(message)
            logger.warning(message)

    def _of(self, stage: str) -> LabelCounts:
        return {"train": self.train, "val": self.val, "test": self.test}[stage]


def _uses_all_batches(trainer: pl.Trainer) -> bool:
    """Return whether the training epoch ends with its last batch, without ``limit_train_batches``."""
    limit = trainer.limit_train_batches
    return isinstance(limit, float) and limit == 1.0 and trainer.is_last_batch
