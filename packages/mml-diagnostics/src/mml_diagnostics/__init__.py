"""Callbacks that watch a Lightning training run and say what is wrong."""

from mml_diagnostics.base import DiagnosticCallback
from mml_diagnostics.diagnose import Diagnosis, diagnose
from mml_diagnostics.finding import Finding, Problem
from mml_diagnostics.forward_nan import ForwardNaNDetection
from mml_diagnostics.gradient_check import GradientCheckCallback
from mml_diagnostics.model_autocorrelation import ModelAutocorrelation
from mml_diagnostics.replay import Replay, replay
from mml_diagnostics.throughput import ThroughputCallback
from mml_diagnostics.training_helper import TrainingHelperCallback

__version__ = "0.1.0"

__all__ = [
    "Diagnosis",
    "DiagnosticCallback",
    "Finding",
    "ForwardNaNDetection",
    "GradientCheckCallback",
    "ModelAutocorrelation",
    "Problem",
    "Replay",
    "ThroughputCallback",
    "TrainingHelperCallback",
    "diagnose",
    "replay",
]
