"""Losses of mml-tasks under the older toolkit's import path. The objects are the same."""

from mml_tasks import AtomWeightedL1, AtomWeightedMSE, BatchQuantileLoss, ConditionalHuberLoss, L2NormLoss

from matsciml._not_here import missing_names

__all__ = ["AtomWeightedL1", "AtomWeightedMSE", "BatchQuantileLoss", "ConditionalHuberLoss", "L2NormLoss"]

__getattr__ = missing_names(__name__)
