"""From targets to a loss: normalisation, loss weights, and task modules for PyTorch Lightning."""

from mml_tasks.base import BaseTaskModule
from mml_tasks.classification import BinaryClassificationTask, CrystalSymmetryClassificationTask
from mml_tasks.force import ForceRegressionTask
from mml_tasks.heads import OutputHead
from mml_tasks.loss_modules import (
    AtomWeightedL1,
    AtomWeightedMSE,
    BatchQuantileLoss,
    ConditionalHuberLoss,
    L2NormLoss,
    TargetLoss,
)
from mml_tasks.normalizer import Normalizer
from mml_tasks.protocols import Embeddings, Encoder, HasTargetStatistics
from mml_tasks.scalar import ScalarRegressionTask

__version__ = "0.1.0"

__all__ = [
    "AtomWeightedL1",
    "AtomWeightedMSE",
    "BaseTaskModule",
    "BatchQuantileLoss",
    "BinaryClassificationTask",
    "ConditionalHuberLoss",
    "CrystalSymmetryClassificationTask",
    "Embeddings",
    "Encoder",
    "ForceRegressionTask",
    "HasTargetStatistics",
    "L2NormLoss",
    "Normalizer",
    "OutputHead",
    "ScalarRegressionTask",
    "TargetLoss",
]
