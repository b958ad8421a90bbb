"""How far a training run has come, from what its trainer is going to do.

Lightning's ``Trainer.estimated_stepping_batches`` is no help where it matters here: it takes the accumulation
of the first epoch for all epochs where a `GradientAccumulationScheduler` changes it, gives -1 or infinity for
a run without a known end, and says nothing about epochs.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Literal

import pytorch_lightning as pl
from pytorch_lightning.callbacks import GradientAccumulationScheduler, Timer

from mml_tasks.schedules.base import fraction_of


def step_index(trainer: pl.Trainer) -> int:
    """Return how many steps were taken: optimizer steps, or batches where the module optimises manually.

    Under manual optimisation, a module takes as many optimizer steps a batch as it likes.
    """
    if trainer.lightning_module.automatic_optimization:
        return trainer.global_step
    return trainer.fit_loop.total_batch_idx


class EpochLengths:
    """How many optimizer steps each epoch has.

    Parameters
    ----------
    segments
        ``(first epoch, steps per epoch)``, ascending from epoch zero.
    """

    def __init__(self, segments: Sequence[tuple[int, int]]) -> None:
        self.epochs = [epoch for epoch, _ in segments]
        self.lengths = [length for _, length in segments]
        self.starts = [0]
        for i in range(1, len(segments)):
            self.starts.append(self.steps_before(self.epochs[i]))

    @classmethod
    def of(cls, trainer: pl.Trainer) -> EpochLengths | None:
        """Return them for a trainer whose data are set up, or None where the data have no length."""
        batches = trainer.num_training_batches
        if math.isinf(batches):
            return None
        # Lightning steps at the last batch of an epoch, whatever was accumulated; DeepSpeed does not.
        whole = math.floor if trainer.strategy.handles_gradient_accumulation else math.ceil
        accumulation = {0: trainer.accumulate_grad_batches}
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, GradientAccumulationScheduler):
                accumulation = callback.scheduling
        if not trainer.lightning_module.automatic_optimization:
            accumulation = {0: 1}
        return cls([(epoch, max(whole(batches / accumulation[epoch]), 1)) for epoch in sorted(accumulation)])

    def steps_before(self, epoch: int) -> int:
        """Return how many steps the epochs before this one have."""
        i = bisect_right(self.epochs[: len(self.starts)], epoch) - 1
        return self.starts[i] + (epoch - self.epochs[i]) * self.lengths[i]

    def epoch_of(self, step: int) -> int:
        """Return the epoch that a step is in."""
        i = bisect_right(self.starts, step) - 1
        return self.epochs[i] + (step - self.starts[i]) // self.lengths[i]


class TrainingPlan:
    """The steps and epochs that a trainer is going to do, and where it is now.

    The plan is what bounds the run: ``max_steps`` and ``max_epochs``, both of which ``fast_dev_run`` sets;
    the number of batches of this rank after ``limit_train_batches``, ``overfit_batches``, the distributed
    sampler and the way in which several loaders are combined; and ``accumulate_grad_batches``. What may end
    a run early (early stopping, ``max_time``) changes no plan, and ``min_steps`` and ``min_epochs`` only say
    how early.

    Nothing is remembered: a run that was resumed is as far as its restored counters say. The plan is for runs
    whose epochs are all alike, and are resumed with the batches and ranks they began with.

    Parameters
    ----------
    trainer
        A trainer that is about to train: its loaders must be set up, as they are from ``on_train_start`` on.
    total_steps, total_epochs
        What to take as the length of the run instead.
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
        """Return the next step and the epoch that it is in, both counted from zero.

        Under ``max_steps``, Lightning 2.6 counts wrong after resuming from the end of an epoch: it trains on
        one more batch of that epoch. There the epoch follows from the steps.
        """
        step = step_index(self._trainer)
        if self._lengths is not None and self._trainer.max_steps != -1:
            return step, self._lengths.epoch_of(step)
        return step, self._trainer.current_epoch

    def total(self, frequency: Literal["step", "epoch"]) -> int:
        """Return how many steps or epochs the run has.

        Raises
        ------
        ValueError
            If nothing says so.
        """
        total = self._total_steps if frequency == "step" else self._total_epochs
        if total is None:
            raise ValueError(f"the run has no known number of {frequency}s: {self._reason(frequency)}")
        return total

    def fraction(self, frequency: Literal["step", "epoch"], index: int) -> float:
        """Return how far the run is at a step or an epoch: 0 at the first, 1 at the last."""
        return fraction_of(index, self.total(frequency))

    def is_last(self, step: int) -> bool:
        """Whether a step is the last, where that is known."""
        return self._total_steps is not None and step == self._total_steps - 1

    def _reason(self, frequency: str) -> str:
        trainer = self._trainer
        remedy = f"or give total_{frequency}s"
        if trainer.max_steps != -1 and not trainer.lightning_module.automatic_optimization:
            return (
                "max_steps counts optimizer steps, and a module that optimises manually takes as many "
                f"a batch as it likes: give max_epochs alone, {remedy}, where a step is a batch"
            )
        if trainer.max_steps == -1 and trainer.max_epochs == -1:
            timed = any(isinstance(callback, Timer) for callback in trainer.callbacks)  # type: ignore[attr-defined]
            what = "max_time bounds it, but says nothing of steps" if timed else "it is to run forever"
            return f"{what}: set the trainer's max_steps or max_epochs too, {remedy}"
        if frequency == "step":
            return (
                "the training data have no length: set the trainer's max_steps, or a whole number as "
                f"limit_train_batches, {remedy}"
            )
        return (
            "the training data have no length, so that the epoch of the last step is not known: set the "
            f"trainer's max_epochs, or use step_frequency='step', {remedy}"
        )
