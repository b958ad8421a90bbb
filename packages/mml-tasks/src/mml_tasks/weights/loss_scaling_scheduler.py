"""Callback that sets loss weights according to schedules."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import get_args

import pytorch_lightning as pl

from mml_tasks.weights.loss_weights import LossWeightCallback, log_weights, logs_at, weights_of
from mml_tasks.weights.progress import TrainingPlan
from mml_tasks.weights.schedules.base import BaseScalingSchedule, StepFrequency

logger = logging.getLogger(__name__)


class LossScalingScheduler(LossWeightCallback):
    """Set the weights of targets' losses according to schedules, before every training step.

    A schedule has its initial value at the first step and its end value at the last one; see
    `mml_tasks.weights.progress.TrainingPlan` for the definition of the last step. Weights depend only on
    the number of the step. Checkpoints therefore store nothing, and a resumed run has the same weights as an
    uninterrupted one. Weights are constant while gradients are accumulated. They are logged as
    ``loss_scaling/<key>``: every ``log_every_n_steps`` of the trainer, at the first step of an epoch, and at
    the last step of the run.

    The callback works with every LightningModule that multiplies its losses by a dict ``task_loss_scaling``.

    Parameters
    ----------
    *args
        The schedules, at most one per target.
    schedules
        Further schedules. Use this argument to give schedules in a YAML file.
    total_steps, total_epochs
        Length of the run in optimizer steps and in epochs, if the trainer does not know it. A number below
        the length of the run makes the weights reach their end values early and stay there.
    log_level
        Level of this callback's logger: the plan is logged at ``INFO``, every change at ``DEBUG``.

    Raises
    ------
    TypeError
        If an argument is not a schedule; at setup, if the module has no ``task_loss_scaling``.
    ValueError
        If no schedule is given, or more than one for a target; at setup, if the module lacks a target; when
        training starts, if the length of the run is unknown.
    """

    def __init__(
        self,
        *args: BaseScalingSchedule,
        schedules: Sequence[BaseScalingSchedule] = (),
        total_steps: int | None = None,
        total_epochs: int | None = None,
        log_level: str = "INFO",
    ) -> None:
        self.schedules = [*args, *schedules]
        if not self.schedules:
            raise ValueError("LossScalingScheduler needs at least one schedule")
        for schedule in self.schedules:
            if not isinstance(schedule, BaseScalingSchedule):
                raise TypeError(
                    "LossScalingScheduler expects schedules, such as LinearScalingSchedule('energy', 1, 10), "
                    f"got {schedule!r}"
                )
        keys = [schedule.key for schedule in self.schedules]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice:
            raise ValueError(
                f"LossScalingScheduler got more than one schedule for {twice}. Combine them with "
                "SequentialScalingSchedule"
            )
        for name, total in (("total_steps", total_steps), ("total_epochs", total_epochs)):
            if total is not None and total < 1:
                raise ValueError(f"{name} must be at least 1, got {total}")
        if log_level not in logging.getLevelNamesMapping():
            raise ValueError(
                f"log_level must be one of {sorted(logging.getLevelNamesMapping())}, got {log_level!r}"
            )
        super().__init__(keys)
        self.total_steps = total_steps
        self.total_epochs = total_epochs
        self.log_level = log_level
        self._by_frequency = {
            frequency: [schedule for schedule in self.schedules if schedule.step_frequency == frequency]
            for frequency in get_args(StepFrequency)
        }
        self._weights: dict[str, float] = {}
        self._plan: TrainingPlan
        self._last: tuple[int, int] | None = None

    def final_weights(self) -> dict[str, float]:
        """Return the weights of the last step, which are used for ``val_loss`` in every epoch."""
        return {schedule.key: schedule.value_at(1.0) for schedule in self.schedules}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Determine the length of the run."""
        logger.setLevel(self.log_level)
        self._plan = TrainingPlan(trainer, self.total_steps, self.total_epochs)
        self._last = None
        for schedule in self.schedules:
            total = self._plan.total(schedule.step_frequency)
            if trainer.is_global_zero:
                logger.info("%r over %d %ss", schedule, total, schedule.step_frequency)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: object, batch_idx: int
    ) -> None:
        """Set the weights of the optimizer step to which this batch belongs."""
        plan = self._plan
        step, epoch = plan.position()
        if (step, epoch) == self._last:
            return
        new_epoch = self._last is None or epoch != self._last[1]
        self._last = (step, epoch)
        weights = self._weights
        if new_epoch:
            weights |= self._values("epoch", epoch)
        weights |= self._values("step", step)
        weights_of(pl_module).update(weights)
        if new_epoch or logs_at(trainer, step) or plan.is_last(step):
            log_weights(trainer, weights, step)
        if logger.isEnabledFor(logging.DEBUG) and trainer.is_global_zero:
            logger.debug("step %d: %s", step, weights)

    def _values(self, frequency: StepFrequency, index: int) -> dict[str, float]:
        """Return the weights of the schedules with this frequency at a step or an epoch."""
        schedules = self._by_frequency[frequency]
        if not schedules:
            return {}
        fraction = self._plan.fraction(frequency, index)
        return {schedule.key: schedule.value_at(fraction) for schedule in schedules}
