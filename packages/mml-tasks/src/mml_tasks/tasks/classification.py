"""Tasks for classes of a structure: binary labels, crystal system, space group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from mml_samples import Batch
from torch import Tensor, nn
from torchmetrics import Metric

from mml_tasks.batches import check_not_infinite, sample_of_row
from mml_tasks.losses.loss_terms import IGNORED, labeled
from mml_tasks.losses.metrics import classification_metrics
from mml_tasks.normalization.scale_rules import ScaleRules
from mml_tasks.protocols import Checkpoint, Statistics
from mml_tasks.tasks.structure import Readout, StructureTask

CLASS_NAMES = "class_names"
"""Key of a checkpoint: names of the classes by target."""

CRYSTAL_SYMMETRY_CLASSES: Mapping[str, int] = MappingProxyType({"crystal_system": 7, "space_group": 230})
"""Number of classes of the targets that `CrystalSymmetryClassificationTask` knows."""


class ClassificationTask(StructureTask):
    """Base class of tasks whose targets are integer labels, one per structure.

    Predictions are logits [B, width]. The targets that evaluation steps return are class indices [B], with
    -100 for a missing label (NaN).

    Attributes
    ----------
    class_names
        Names of the classes of a target, words or integers, in the order of its labels, if the data module
        provides them; saved in checkpoints.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"class", "scalar"})  # labels may be stored as floats

    def __init__(self, encoder: nn.Module | None = None, **kwargs: Any) -> None:
        super().__init__(encoder, **kwargs)
        self.class_names: dict[str, list[int | str]] = {}

    def build(self, stage: str) -> None:
        """Read the names of the classes from the data module, and build the task."""
        super().build(stage)
        statistics = (self._data().statistics() or {}) if stage == "fit" else {}
        for key in self.task_keys or []:
            if names := statistics.get(key, {}).get("class_names"):
                self.class_names[key] = list(names)

    def on_save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Save the names of the classes, and what all tasks save."""
        super().on_save_checkpoint(checkpoint)
        checkpoint[CLASS_NAMES] = dict(self.class_names)

    def on_load_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Load the names of the classes, and what all tasks load."""
        super().on_load_checkpoint(checkpoint)
        self.class_names = dict(checkpoint.get(CLASS_NAMES) or {})

    def scale_rules(self, task_keys: Sequence[str]) -> ScaleRules:
        """Return rules without outputs: labels are not normalized."""
        return ScaleRules()

    def make_metrics(self, key: str) -> dict[str, Metric]:
        """Return the accuracy."""
        return classification_metrics(key)

    def update_metrics(
        self, metrics: dict[str, Metric], key: str, prediction: Tensor, target: Tensor, natoms: Tensor
    ) -> None:
        """Count the structures whose class is predicted correctly."""
        right = (self.predicted_class(prediction) == target).to(torch.float32)
        for metric in metrics.values():
            metric.update(right, labeled(target))

    def predicted_class(self, logits: Tensor) -> Tensor:
        """Return the most likely class index, [B] int64."""
        return logits.argmax(dim=1)

    def predicted_labels(self, key: str, logits: Tensor) -> list[int | str]:
        """Return the most likely label of each structure: its name, or its number if it has no name."""
        first, names = self.label_range(key)[0], self.class_names.get(key, [])
        indices: list[int] = self.predicted_class(logits).tolist()
        return [names[index] if index < len(names) else index + first for index in indices]

    def label_range(self, key: str) -> tuple[int, int]:
        """Return the first and the last label of a target."""
        raise NotImplementedError

    def check_target(self, key: str, target: Tensor, batch: Batch) -> None:
        """Raise an error for labels that are not a class of the target."""
        check_not_infinite(key, target, batch)
        first, last = self.label_range(key)
        known = target if not target.is_floating_point() else torch.where(target.isnan(), first, target)
        bad = ((known < first) | (known > last) | (known != known.to(torch.int64))).reshape(-1)
        if bad.any():
            row = int(bad.nonzero()[0])
            raise ValueError(
                f"target {key!r} is {target.reshape(-1)[row].item()} in {sample_of_row(target, row, batch)}, "
                f"expected a label from {first} to {last}"
            )

    def window_target(self, key: str, target: Tensor) -> Tensor:
        """Return the class indices of a target."""
        return self.target_of(key, target, target.reshape(-1))

    def target_of(self, key: str, target: Tensor, output: Tensor) -> Tensor:
        """Return class indices, [B] int64, from labels [B, 1] or [B]; `IGNORED` for labels that are NaN.

        Raises
        ------
        ValueError
            If the number of labels differs from the number of structures.
        """
        if target.numel() != output.shape[0]:
            raise ValueError(
                f"target {key!r} must have one label for each of the {output.shape[0]} structures, got shape "
                f"{list(target.shape)}"
            )
        target = target.reshape(-1)
        classes = target.nan_to_num().to(torch.int64) - self.label_range(key)[0]
        return torch.where(labeled(target), classes, IGNORED) if target.is_floating_point() else classes


class BinaryClassificationTask(ClassificationTask):
    """Learn a binary property of a structure: labels 0 and 1, one logit, binary cross entropy.

    Parameters
    ----------
    encoder, readout
        See `StructureTask`.
    **kwargs
        See `BaseTaskModule`. ``task_keys`` defaults to every target of the data module that has no labels
        other than 0 and 1.
    """

    default_loss: ClassVar[type[nn.Module]] = nn.BCEWithLogitsLoss

    def infer_task_keys(self, statistics: Mapping[str, Statistics]) -> list[str]:
        """Return the targets that have no labels other than 0 and 1."""
        return [key for key, numbers in statistics.items() if set(numbers.get("classes", (-1,))) <= {0, 1}]

    def label_range(self, key: str) -> tuple[int, int]:
        """Return 0 and 1."""
        return 0, 1

    def predicted_class(self, logits: Tensor) -> Tensor:
        """Return 1 for positive logits [B, 1] and 0 for others, [B] int64."""
        return (logits > 0).to(torch.int64).reshape(-1)

    def loss_arguments(self, key: str, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits [B] and the labels [B] as floating-point numbers, NaN for missing labels."""
        return output.reshape(-1), torch.where(target == IGNORED, torch.nan, target).to(output.dtype)


class CrystalSymmetryClassificationTask(ClassificationTask):
    """Learn the crystal system or the space group of a structure with cross entropy.

    ``space_group`` has the labels 1 to 230 (International Tables), ``crystal_system`` the labels 0 to 6, from
    triclinic to cubic. Class indices, in logits and in returned targets, start at 0.

    Parameters
    ----------
    encoder, readout
        See `StructureTask`.
    num_classes
        Number of classes of targets with other names, whose labels start at 0. It can also reduce the number
        of classes of the two known targets, if the data contain only the first of their classes.
    freeze_embedding
        Name of ``freeze_encoder`` in the older toolkit; True sets ``freeze_encoder=True``.
    **kwargs
        See `BaseTaskModule`. ``task_keys`` defaults to the known targets that the data module has.

    Raises
    ------
    ValueError
        If the number of classes of a target is unknown.
    """

    default_loss: ClassVar[type[nn.Module]] = nn.CrossEntropyLoss

    def __init__(
        self,
        encoder: nn.Module | None = None,
        *,
        num_classes: dict[str, int] | None = None,
        readout: Readout | None = None,
        freeze_embedding: bool = False,
        **kwargs: Any,
    ) -> None:
        if freeze_embedding:
            kwargs["freeze_encoder"] = True
        # Set before the base class builds the heads, whose width is the number of classes.
        self.num_classes = {**CRYSTAL_SYMMETRY_CLASSES, **(num_classes or {})}
        super().__init__(encoder, readout=readout, **kwargs)
        self.save_hyperparameters({"num_classes": dict(num_classes or {})})

    def infer_task_keys(self, statistics: Mapping[str, Statistics]) -> list[str]:
        """Return the targets whose number of classes is known."""
        return [
            key for key, numbers in statistics.items() if key in self.num_classes and "classes" in numbers
        ]

    def head_width(self, key: str) -> int:
        """Return the number of classes of a target."""
        if key not in self.num_classes:
            raise ValueError(
                f"the number of classes of target {key!r} is unknown, known are {self.num_classes}. Pass "
                f"num_classes={{{key!r}: ...}}"
            )
        return self.num_classes[key]

    def label_range(self, key: str) -> tuple[int, int]:
        """Return the first and the last label: space groups start at 1, all other labels at 0."""
        first = 1 if key == "space_group" else 0
        return first, first + self.head_width(key) - 1
