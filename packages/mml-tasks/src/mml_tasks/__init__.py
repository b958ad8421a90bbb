"""From targets to a loss: normalisation, loss weights, and task modules for PyTorch Lightning."""

from mml_tasks.base import BaseTaskModule
from mml_tasks.classification import BinaryClassificationTask, CrystalSymmetryClassificationTask
from mml_tasks.force import ForceRegressionTask
from mml_tasks.heads import OutputHead
from mml_tasks.normalizer import Normalizer
from mml_tasks.protocols import Embeddings, Encoder, HasTargetStatistics
from mml_tasks.scalar import ScalarRegressionTask

__version__ = "0.1.0"

__all__ = [
    "BaseTaskModule",
    "BinaryClassificationTask",
    "CrystalSymmetryClassificationTask",
    "Embeddings",
    "Encoder",
    "ForceRegressionTask",
    "HasTargetStatistics",
    "Normalizer",
    "OutputHead",
    "ScalarRegressionTask",
]
