"""Transforms for pretraining under the older toolkit's import path."""

from mml_graphs import NoisyPositions

__all__ = ["NoisyPositions"]
