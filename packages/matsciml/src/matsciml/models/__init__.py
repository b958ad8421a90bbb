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
    MultiTaskLitModule,
    NodeDenoisingTask,
    ScalarRegressionTask,
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
    "NequIP",
    "NodeDenoisingTask",
    "PaiNN",
    "ScalarRegressionTask",
    "ScaleShiftMACE",
    "SchNet",
    "TensorNet",
    "ViSNet",
]

add_empty_modules(__name__, "dgl", "inference")
