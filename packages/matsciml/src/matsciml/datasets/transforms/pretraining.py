"""Transforms for pretraining under the older toolkit's import path."""

from mml_graphs import NoisyPositions

from matsciml._not_here import missing_names

__all__ = ["NoisyPositions"]

__getattr__ = missing_names(__name__)
