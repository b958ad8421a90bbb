"""Encoders of mml-models and tasks of mml-tasks under the older toolkit's import path.

The objects are the same.
"""

from mml_models import (
    EGNN,
    MACE,
    QET,
    Allegro,
    CHGNet,
    DimeNetPlusPlus,
    GenericEncoder,
    M3GNet,
    MEGNet,
    NequIP,
    PaiNN,
    ScaleShiftMACE,
    SchNet,
    TensorNet,
    ViSNet,
)

from matsciml._missing_names import add_empty_modules
from matsciml.models.base import (
    BaseTaskModule,
    BinaryClassificationTask,
    CrystalSymmetryClassificationTask,
    ForceRegressionTask,
    GradFreeForceRegressionTask,
    MulticlassClassificationTask,
    MultiTaskLitModule,
    NodeDenoisingTask,
    ScalarRegressionTask,
    SpectrumRegressionTask,
    TensorRegressionTask,
    VectorRegressionTask,
)

__all__ = [
    "EGNN",
    "MACE",
    "QET",
    "Allegro",
    "BaseTaskModule",
    "BinaryClassificationTask",
    "CHGNet",
    "CrystalSymmetryClassificationTask",
    "DimeNetPlusPlus",
    "ForceRegressionTask",
    "GenericEncoder",
    "GradFreeForceRegressionTask",
    "M3GNet",
    "MEGNet",
    "MultiTaskLitModule",
    "MulticlassClassificationTask",
    "NequIP",
    "NodeDenoisingTask",
    "PaiNN",
    "ScalarRegressionTask",
    "ScaleShiftMACE",
    "SchNet",
    "SpectrumRegressionTask",
    "TensorNet",
    "TensorRegressionTask",
    "VectorRegressionTask",
    "ViSNet",
]

add_empty_modules(__name__, "dgl", "inference")
