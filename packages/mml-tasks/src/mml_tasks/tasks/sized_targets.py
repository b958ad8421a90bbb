"""Heads whose width is the size of a target in the data, such as its number of classes or points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import nn

from mml_tasks.protocols import Statistics
from mml_tasks.tasks.structure import Readout, StructureTask


class SizedTargetTask(StructureTask):
    """Base class of tasks that read the sizes of their targets from the data module unless they are given.

    Parameters
    ----------
    encoder, readout
        See `StructureTask`.
    sizes
        Size of each target. Default: that of the data module's targets.
    **kwargs
        See `BaseTaskModule`.

    Raises
    ------
    ValueError
        If the size of a target is unknown.
    """

    size_argument: ClassVar[str]
    """Name of the argument for the sizes."""

    size_name: ClassVar[str]
    """Description of a size in messages."""

    def __init__(
        self,
        encoder: nn.Module | None = None,
        *,
        sizes: Mapping[str, int] | None = None,
        readout: Readout | None = None,
        **kwargs: Any,
    ) -> None:
        # Set before the base class builds the heads.
        self.sizes = dict(sizes or {})
        self._waiting: list[str] | None = None
        super().__init__(encoder, readout=readout, **kwargs)
        self.save_hyperparameters({self.size_argument: dict(self.sizes)})

    def size_from(self, statistics: Statistics) -> int | None:
        """Return the size of a target from its statistics, or None if the task cannot learn the target."""
        raise NotImplementedError

    def infer_task_keys(self, statistics: Mapping[str, Statistics]) -> list[str]:
        """Return the targets whose size follows from their statistics."""
        return [key for key, about in statistics.items() if self.size_from(about)]

    def head_width(self, key: str) -> int:
        """Return the size of a target."""
        if key not in self.sizes:
            raise ValueError(
                f"the {self.size_name} of target {key!r} is unknown, known are {self.sizes}. Pass "
                f"{self.size_argument}={{{key!r}: ...}}, or use a data module whose target_statistics() "
                "describe it"
            )
        return self.sizes[key]

    def set_task_keys(self, keys: Sequence[str]) -> None:
        """Build the parts that depend on the targets, or wait for the data if a size is unknown."""
        if set(keys) <= set(self.sizes):
            super().set_task_keys(keys)
        else:
            self._waiting = list(keys)

    def build(self, stage: str) -> None:
        """Read unknown sizes from the data module, and build the task."""
        if self.task_keys is None:
            for key, about in (self._data().statistics() or {}).items():
                if key not in self.sizes and (size := self.size_from(about)):
                    self.sizes[key] = size
            self.hparams[self.size_argument] = dict(self.sizes)
            for key in self._waiting or []:
                self.head_width(key)  # raises an error if it is still unknown
            if self._waiting:
                self.set_task_keys(self._waiting)
        super().build(stage)
