"""Task for one of several classes of a structure, such as a structure type."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn

from mml_tasks.protocols import Statistics
from mml_tasks.tasks.classification import ClassificationTask
from mml_tasks.tasks.sized_targets import SizedTargetTask
from mml_tasks.tasks.structure import Readout


class MulticlassClassificationTask(SizedTargetTask, ClassificationTask):
    """Learn one of several classes of a structure with cross entropy: labels 0 to C - 1, C logits.

    Parameters
    ----------
    encoder, readout
        See `StructureTask`.
    num_classes
        Number of classes C of each target. Default: the number of class names of the data module's targets,
        or their largest label plus one.
    **kwargs
        See `BaseTaskModule`. ``task_keys`` defaults to every target of the data module with classes.

    Raises
    ------
    ValueError
        If the number of classes of a target is unknown.
    """

    default_loss: ClassVar[type[nn.Module]] = nn.CrossEntropyLoss
    size_argument: ClassVar[str] = "num_classes"
    size_name: ClassVar[str] = "number of classes"

    def __init__(
        self,
        encoder: nn.Module | None = None,
        *,
        num_classes: dict[str, int] | None = None,
        readout: Readout | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(encoder, sizes=num_classes, readout=readout, **kwargs)

    def size_from(self, statistics: Statistics) -> int | None:
        """Return the number of classes, or None for targets without classes."""
        if not statistics.get("classes"):
            return None
        return len(statistics.get("class_names") or ()) or max(statistics["classes"]) + 1

    def label_range(self, key: str) -> tuple[int, int]:
        """Return 0 and the last label of a target."""
        return 0, self.head_width(key) - 1
