"""Schedules of loss weights under the older toolkit's import path. The objects are those of mml-tasks."""

from mml_tasks import (
    BaseScalingSchedule,
    CosineScalingSchedule,
    ExponentialScalingSchedule,
    LinearScalingSchedule,
    PiecewiseScalingSchedule,
    SequentialScalingSchedule,
    SigmoidScalingSchedule,
    StepScalingSchedule,
)

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
