"""Tasks of mml-tasks under the older toolkit's import path. The objects are the same."""

from mml_tasks import (
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
    "BaseTaskModule",
    "BinaryClassificationTask",
    "CrystalSymmetryClassificationTask",
    "ForceRegressionTask",
    "GradFreeForceRegressionTask",
    "MultiTaskLitModule",
    "NodeDenoisingTask",
    "ScalarRegressionTask",
]
