"""Compute the progress of a training run from the length that its trainer plans.

Lightning's ``Trainer.estimated_stepping_batches`` is not sufficient for this. If a
`GradientAccumulationScheduler` changes the accumulation, it uses that of the first epoch for all epochs. For
a run without a known end it returns -1 or infinity, and it does not count epochs.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Literal

import pytorch_lightning as pl
from pytorch_lightning.callbacks import GradientAccumulationScheduler, Timer

from mml_tasks.weights.schedules.base import fraction_of


def step_index(trainer: pl.Trainer) -> int:
    """Return the number of completed steps: optimizer steps, or batches under manual optimization.

    Under manual optimization, a module may take any number of optimizer steps per batch.
    """
    if trainer.lightning_module.automatic_optimization:
        return trainer.global_step
    return trainer.fit_loop.total_batch_idx


class EpochLengths:
    """Number of optimizer steps in each epoch.

    Parameters
    ----------
    segments
        Pairs ``(first epoch, steps per epoch)``, ascending from epoch zero.
    """

    def __init__(self, segments: Sequence[tuple[int, int]]) -> None:
        self.epochs = [epoch for epoch, _ in segments]
        self.lengths = [length for _, length in segments]
        self.starts = [0]
        for i in range(1, len(segments)):
            self.starts.append(self.steps_before(self.epochs[i]))

    @classmethod
    def of(cls, trainer: pl.Trainer) -> EpochLengths | None:
        """Return the lengths for a trainer whose data are set up, or None if the data have no length."""
        batches = trainer.num_training_batches
        if math.isinf(batches):
            return None
        # Lightning steps at the last batch of an epoch, even if the window is incomplete; DeepSpeed does not.
        whole = math.floor if trainer.strategy.handles_gradient_accumulation else math.ceil
        accumulation = {0: trainer.accumulate_grad_batches}
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, GradientAccumulationScheduler):
                accumulation = callback.scheduling
        if not trainer.lightning_module.automatic_optimization:
            accumulation = {0: 1}
        return cls([(epoch, max(whole(batches / accumulation[epoch]), 1)) for epoch in sorted(accumulation)])

    def steps_before(self, epoch: int) -> int:
        """Return the number of steps in all epochs before this one."""
        i = bisect_right(self.epochs[: len(self.starts)], epoch) - 1
        return self.starts[i] + (epoch - self.epochs[i]) * self.lengths[i]

    def epoch_of(self, step: int) -> int:
        """Return the epoch that contains a step."""
        i = bisect_right(self.starts, step) - 1
        return self.epochs[i] + (step - self.starts[i]) // self.lengths[i]


class TrainingPlan:
    """The steps and epochs that a trainer is going to run, and its current position.

    The plan follows from the limits of the run: ``max_steps`` and ``max_epochs``, which ``fast_dev_run`` also
    sets; the number of batches of this rank after ``limit_train_batches``, ``overfit_batches``, the
    distributed sampler and the combination of several loaders; and ``accumulate_grad_batches``. Early
    stopping and ``max_time`` may end a run early, but do not change the plan. ``min_steps`` and
    ``min_epochs`` only determine how early it may end.

    The plan has no state: the progress of a resumed run follows from its restored counters. The plan requires
    that all epochs have the same number of batches, and that a run is resumed with the same batches and the
    same number of ranks.

    Parameters
    ----------
    trainer
        A trainer that is about to train. Its loaders must be set up, as they are from ``on_train_start`` on.
    total_steps, total_epochs
        Lengths of the run that replace those of the trainer.
    """

    def __init__(
        self, trainer: pl.Trainer, total_steps: int | None = None, total_epochs: int | None = None
    ) -> None:
        self._trainer = trainer
        self._lengths = EpochLengths.of(trainer)
        self._total_steps = self._planned_steps() if total_steps is None else total_steps
        self._total_epochs = self._planned_epochs() if total_epochs is None else total_epochs

    def _planned_steps(self) -> int | None:
        max_epochs, max_steps = self._trainer.max_epochs, self._trainer.max_steps
        bounds = []
        if max_steps != -1:
            if not self._trainer.lightning_module.automatic_optimization:
                return None
            bounds.append(max_steps)
        if self._lengths is not None and max_epochs not in (None, -1):
            bounds.append(self._lengths.steps_before(max_epochs))
        return min(bounds, default=None)

    def _planned_epochs(self) -> int | None:
        max_epochs, steps = self._trainer.max_epochs, self._planned_steps()
        if self._lengths is not None and steps is not None:
            return self._lengths.epoch_of(max(steps - 1, 0)) + 1
        return None if max_epochs == -1 else max_epochs

    def position(self) -> tuple[int, int]:
        """Return the next step and its epoch, both counted from zero.

        Under ``max_steps``, Lightning 2.6 counts incorrectly after resuming from the end of an epoch: it
        trains on one more batch of that epoch. In this case, the epoch is computed from the steps.
        """
        step = step_index(self._trainer)
        if self._lengths is not None and self._trainer.max_steps != -1:
            return step, self._lengths.epoch_of(step)
        return step, self._trainer.current_epoch

    def total(self, frequency: Literal["step", "epoch"]) -> int:
        """Return the number of steps or epochs of the run.

        Raises
        ------
        ValueError
            If the number is unknown.
        """
        total = self._total_steps if frequency == "step" else self._total_epochs
        if total is None:
            raise ValueError(
                f"the number of {frequency}s of the run is unknown, because {self._reason(frequency)}"
            )
        return total

    def fraction(self, frequency: Literal["step", "epoch"], index: int) -> float:
        """Return the progress of the run at a step or an epoch: 0 at the first, 1 at the last."""
        return fraction_of(index, self.total(frequency))

    def is_last(self, step: int) -> bool:
        """Return whether a step is known to be the last one."""
        return self._total_steps is not None and step == self._total_steps - 1

    def _reason(self, frequency: str) -> str:
        trainer = self._trainer
        remedy = f"or pass total_{frequency}s"
        if trainer.max_steps != -1 and not trainer.lightning_module.automatic_optimization:
            return (
                "max_steps counts optimizer steps, and a module with manual optimization may take any number "
                f"of them per batch. Set only max_epochs of the trainer, {remedy}, which then counts batches"
            )
        if trainer.max_steps == -1 and trainer.max_epochs == -1:
            timed = any(isinstance(callback, Timer) for callback in trainer.callbacks)  # type: ignore[attr-defined]
            what = "only max_time limits it" if timed else "the trainer has no limit"
            return f"{what}. Set max_steps or max_epochs of the trainer, {remedy}"
        if frequency == "step":
            return (
                "the training data have no length. Set max_steps of the trainer, or an integer as "
                f"limit_train_batches, {remedy}"
            )
        return (
            "the training data have no length, so that the epoch of the last step cannot be computed. Set "
            f"max_epochs of the trainer, use step_frequency='step', {remedy}"
        )
