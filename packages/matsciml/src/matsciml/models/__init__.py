"""Encoders of mml-models and tasks of mml-tasks, at the older toolkit's path: the same objects."""

from mml_models import EGNN, GenericEncoder, MEGNet, PaiNN, SchNet, TensorNet

from matsciml._not_here import missing_names
from matsciml.models.base import (
    BaseTaskModule,
    BinaryClassificationTask,
    CrystalSymmetryClassificationTask,
    ForceRegressionTask,
    GradFreeForceRegressionTask,
    MultiTaskLitModule,
    NodeDenoisingTask,
    ScalarRegressionTask,
)

__all__ = [
    "EGNN",
    "BaseTaskModule",
    "BinaryClassificationTask",
    "CrystalSymmetryClassificationTask",
    "ForceRegressionTask",
    "GenericEncoder",
    "GradFreeForceRegressionTask",
    "MEGNet",
    "MultiTaskLitModule",
    "NodeDenoisingTask",
    "PaiNN",
    "ScalarRegressionTask",
    "SchNet",
    "TensorNet",
]

__getattr__ = missing_names(__name__)
