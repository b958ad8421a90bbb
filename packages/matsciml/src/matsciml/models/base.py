"""Tasks of mml-tasks, at the older toolkit's path: the same objects."""

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
