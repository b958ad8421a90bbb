"""Callbacks that watch a Lightning training run and report problems."""

from mml_diagnostics.base import DiagnosticCallback
from mml_diagnostics.checks.diagnose import Diagnosis, diagnose
from mml_diagnostics.checks.training_helper import TrainingHelperCallback
from mml_diagnostics.finding import Finding, Problem
from mml_diagnostics.interveners.exponential_moving_average import ExponentialMovingAverageCallback
from mml_diagnostics.interveners.garbage import GarbageCallback
from mml_diagnostics.interveners.manual_gradient_clip import ManualGradientClip
from mml_diagnostics.interveners.sam import SAM
from mml_diagnostics.non_finite.forward_nan import ForwardNaNDetection
from mml_diagnostics.non_finite.gradient_check import GradientCheckCallback
from mml_diagnostics.non_finite.replay import Replay, replay
from mml_diagnostics.observers.codecarbon import CodeCarbonCallback
from mml_diagnostics.observers.inference_writer import InferenceWriter
from mml_diagnostics.observers.monitor_gradients import MonitorGradients
from mml_diagnostics.observers.throughput import ThroughputCallback
from mml_diagnostics.observers.unused_parameters import UnusedParametersCallback
from mml_diagnostics.spikes.loss_spike import LossSpikeDetection
from mml_diagnostics.spikes.model_autocorrelation import ModelAutocorrelation

__version__ = "0.1.0"

__all__ = [
    "SAM",
    "CodeCarbonCallback",
    "Diagnosis",
    "DiagnosticCallback",
    "ExponentialMovingAverageCallback",
    "Finding",
    "ForwardNaNDetection",
    "GarbageCallback",
    "GradientCheckCallback",
    "InferenceWriter",
    "LossSpikeDetection",
    "ManualGradientClip",
    "ModelAutocorrelation",
    "MonitorGradients",
    "Problem",
    "Replay",
    "ThroughputCallback",
    "TrainingHelperCallback",
    "UnusedParametersCallback",
    "diagnose",
    "replay",
]
