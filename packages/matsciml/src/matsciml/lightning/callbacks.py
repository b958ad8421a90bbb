"""Callbacks of mml-diagnostics and mml-tasks, at the older toolkit's path: the same objects."""

from mml_diagnostics import GradientCheckCallback, ThroughputCallback, TrainingHelperCallback
from mml_tasks import LossScalingScheduler, SoftAdapt, UncertaintyWeighting

from matsciml._not_here import missing_names

__all__ = [
    "GradientCheckCallback",
    "LossScalingScheduler",
    "SoftAdapt",
    "ThroughputCallback",
    "TrainingHelperCallback",
    "UncertaintyWeighting",
]

__getattr__ = missing_names(__name__)
