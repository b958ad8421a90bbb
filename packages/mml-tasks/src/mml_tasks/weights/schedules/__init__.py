"""Schedules of loss weights: pure functions of the progress of a training run."""

from mml_tasks.weights.schedules.base import BaseScalingSchedule
from mml_tasks.weights.schedules.curves import (
    CosineScalingSchedule,
    ExponentialScalingSchedule,
    LinearScalingSchedule,
    SigmoidScalingSchedule,
)
from mml_tasks.weights.schedules.points import PiecewiseScalingSchedule, StepScalingSchedule
from mml_tasks.weights.schedules.sequential import SequentialScalingSchedule

__all__ = [
    "BaseScalingSchedule",
    "CosineScalingSchedule",
    "ExponentialScalingSchedule",
    "LinearScalingSchedule",
    "PiecewiseScalingSchedule",
    "SequentialScalingSchedule",
    "SigmoidScalingSchedule",
    "StepScalingSchedule",
]
