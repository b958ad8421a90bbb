"""Tasks for PyTorch Lightning, from targets to a loss: normalization, loss weights and their schedules."""

from mml_tasks.base import BaseTaskModule
from mml_tasks.heads import OutputHead
from mml_tasks.losses.loss_modules import (
    AtomWeightedL1,
    AtomWeightedMSE,
    BatchQuantileLoss,
    ConditionalHuberLoss,
    L2NormLoss,
    TargetLoss,
)
from mml_tasks.normalization.normalizer import Normalizer
from mml_tasks.pretrained import EncoderReport
from mml_tasks.protocols import Embeddings, Encoder, HasTargetStatistics
from mml_tasks.tasks.classification import BinaryClassificationTask, CrystalSymmetryClassificationTask
from mml_tasks.tasks.denoising import NodeDenoisingTask
from mml_tasks.tasks.force import ForceRegressionTask
from mml_tasks.tasks.grad_free_force import GradFreeForceRegressionTask
from mml_tasks.tasks.moments import TensorRegressionTask, VectorRegressionTask
from mml_tasks.tasks.multiclass import MulticlassClassificationTask
from mml_tasks.tasks.multitask import MultiTaskLitModule
from mml_tasks.tasks.scalar import ScalarRegressionTask
from mml_tasks.tasks.spectrum import SpectrumRegressionTask
from mml_tasks.trainer.lr_scaling import scale_lr_by_world_size
from mml_tasks.weights.loss_scaling_scheduler import LossScalingScheduler
from mml_tasks.weights.schedules import (
    BaseScalingSchedule,
    CosineScalingSchedule,
    ExponentialScalingSchedule,
    LinearScalingSchedule,
    PiecewiseScalingSchedule,
    SequentialScalingSchedule,
    SigmoidScalingSchedule,
    StepScalingSchedule,
)
from mml_tasks.weights.soft_adapt import SoftAdapt
from mml_tasks.weights.uncertainty_weighting import UncertaintyLoss, UncertaintyWeighting

__version__ = "0.1.0"

__all__ = [
    "AtomWeightedL1",
    "AtomWeightedMSE",
    "BaseScalingSchedule",
    "BaseTaskModule",
    "BatchQuantileLoss",
    "BinaryClassificationTask",
    "ConditionalHuberLoss",
    "CosineScalingSchedule",
    "CrystalSymmetryClassificationTask",
    "Embeddings",
    "Encoder",
    "EncoderReport",
    "ExponentialScalingSchedule",
    "ForceRegressionTask",
    "GradFreeForceRegressionTask",
    "HasTargetStatistics",
    "L2NormLoss",
    "LinearScalingSchedule",
    "LossScalingScheduler",
    "MultiTaskLitModule",
    "MulticlassClassificationTask",
    "NodeDenoisingTask",
    "Normalizer",
    "OutputHead",
    "PiecewiseScalingSchedule",
    "ScalarRegressionTask",
    "SequentialScalingSchedule",
    "SigmoidScalingSchedule",
    "SoftAdapt",
    "SpectrumRegressionTask",
    "StepScalingSchedule",
    "TargetLoss",
    "TensorRegressionTask",
    "UncertaintyLoss",
    "UncertaintyWeighting",
    "VectorRegressionTask",
    "scale_lr_by_world_size",
]
