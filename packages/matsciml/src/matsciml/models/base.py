"""Tasks of mml-tasks under the older toolkit's import path. The objects are the same."""

from mml_tasks import (
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
    "BaseTaskModule",
    "BinaryClassificationTask",
    "CrystalSymmetryClassificationTask",
    "ForceRegressionTask",
    "GradFreeForceRegressionTask",
    "MultiTaskLitModule",
    "MulticlassClassificationTask",
    "NodeDenoisingTask",
    "ScalarRegressionTask",
    "SpectrumRegressionTask",
    "TensorRegressionTask",
    "VectorRegressionTask",
]
