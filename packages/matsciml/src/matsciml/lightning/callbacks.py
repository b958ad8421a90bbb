"""Callbacks of mml-diagnostics and mml-tasks under the older toolkit's import path.

The objects are the same.
"""

from mml_diagnostics import (
    SAM,
    CodeCarbonCallback,
    ExponentialMovingAverageCallback,
    ForwardNaNDetection,
    GarbageCallback,
    GradientCheckCallback,
    InferenceWriter,
    LossSpikeDetection,
    ManualGradientClip,
    ModelAutocorrelation,
    MonitorGradients,
    ThroughputCallback,
    TrainingHelperCallback,
    UnusedParametersCallback,
)
from mml_tasks import LossScalingScheduler, SoftAdapt, UncertaintyWeighting

from matsciml._missing_names import missing_names

__all__ = [
    "SAM",
    "CodeCarbonCallback",
    "ExponentialMovingAverageCallback",
    "ForwardNaNDetection",
    "GarbageCallback",
    "GradientCheckCallback",
    "InferenceWriter",
    "LossScalingScheduler",
    "LossSpikeDetection",
    "ManualGradientClip",
    "ModelAutocorrelation",
    "MonitorGradients",
    "SoftAdapt",
    "ThroughputCallback",
    "TrainingHelperCallback",
    "UncertaintyWeighting",
    "UnusedParametersCallback",
]

__getattr__ = missing_names(__name__)
