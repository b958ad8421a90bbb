"""Callbacks that watch a Lightning training run and report problems."""

from mml_diagnostics.base import DiagnosticCallback
from mml_diagnostics.codecarbon import CodeCarbonCallback
from mml_diagnostics.diagnose import Diagnosis, diagnose
from mml_diagnostics.exponential_moving_average import ExponentialMovingAverageCallback
from mml_diagnostics.finding import Finding, Problem
from mml_diagnostics.forward_nan import ForwardNaNDetection
from mml_diagnostics.garbage import GarbageCallback
from mml_diagnostics.gradient_check import GradientCheckCallback
from mml_diagnostics.inference_writer import InferenceWriter
from mml_diagnostics.loss_spike import LossSpikeDetection
from mml_diagnostics.manual_gradient_clip import ManualGradientClip
from mml_diagnostics.model_autocorrelation import ModelAutocorrelation
from mml_diagnostics.monitor_gradients import MonitorGradients
from mml_diagnostics.replay import Replay, replay
from mml_diagnostics.sam import SAM
from mml_diagnostics.throughput import ThroughputCallback
from mml_diagnostics.training_helper import TrainingHelperCallback
from mml_diagnostics.unused_parameters import UnusedParametersCallback

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
