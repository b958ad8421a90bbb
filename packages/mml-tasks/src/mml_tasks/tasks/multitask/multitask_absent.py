"""Take part in the reductions of a task's step, on a rank that has no batch for this task.

All ranks must reduce the same numbers in the same order. Each function here therefore follows a step of
`TaskSteps`.
"""

from __future__ import annotations

import torch

from mml_tasks.losses.loss_modules import TargetLoss
from mml_tasks.losses.loss_terms import LossTerms, join_combine
from mml_tasks.losses.metrics import MaskedMean
from mml_tasks.losses.missing_labels import NUMBERS
from mml_tasks.steps import TaskSteps
from mml_tasks.trainer.ranks import world_size


def join_step(task: TaskSteps) -> None:
    """Take part in the reductions of a training step, and log the losses of a batch without labels."""
    task.last_terms = {}
    if world_size() == 1 or not task.is_running():
        return
    keys = task.task_keys or []
    for key in keys:
        loss = task.losses[key]
        if isinstance(loss, TargetLoss):
            loss.join(task.device)
    # Per target: the weight, and the numbers of `LabelCounts`.
    numbers = join_combine((1 + NUMBERS) * len(keys), task.device)
    task.missing_labels.train.add_sums(numbers[len(keys) :])
    _log_nothing(task, "train")


def join_evaluation(task: TaskSteps, stage: str) -> None:
    """Log the losses and metrics of a batch without labels.

    Lightning reduces metrics in the order in which they are logged, which must be the same on all ranks.
    """
    if world_size() == 1 or not task.is_running():
        return
    _log_nothing(task, stage)
    nothing = torch.zeros(0, device=task.device)
    for key in task.task_keys or []:
        metrics = task.metrics_of(stage, key)
        for metric in metrics.values():
            if isinstance(metric, MaskedMean):
                metric.update(nothing, nothing.bool())
        task.log_metrics(stage, metrics, 1)


def _log_nothing(task: TaskSteps, stage: str) -> None:
    nothing = torch.zeros((), device=task.device)
    task.log_losses(stage, {key: LossTerms(nothing, nothing) for key in task.task_keys or []}, 1)
