"""Losses of mml-tasks under the older toolkit's import path. The objects are the same."""

from mml_tasks import AtomWeightedL1, AtomWeightedMSE, BatchQuantileLoss, ConditionalHuberLoss, L2NormLoss

__all__ = ["AtomWeightedL1", "AtomWeightedMSE", "BatchQuantileLoss", "ConditionalHuberLoss", "L2NormLoss"]
