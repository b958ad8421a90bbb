"""Training data of a task as seen through its trainer: stored statistics, and the training loader."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import pytorch_lightning as pl

from mml_tasks.protocols import HasTargetStatistics, Statistics, TaskBatch
from mml_tasks.task_scope import TaskScope


@dataclass(frozen=True)
class TrainingData:
    """Training data of a task.

    Parameters
    ----------
    trainer
        The trainer of the task.
    scope
        Position of the task in a module of several tasks, which selects its data set.
    """

    trainer: pl.Trainer
    scope: TaskScope | None = None

    def statistics(self) -> Mapping[str, Statistics] | None:
        """Return the statistics of the training split, or None if the data module does not provide any."""
        if self.scope is not None:
            return self.scope.statistics()
        datamodule = getattr(self.trainer, "datamodule", None)
        return datamodule.target_statistics() if isinstance(datamodule, HasTargetStatistics) else None

    def loader(self, unset: Sequence[str]) -> Iterable[TaskBatch]:
        """Return the training loader, before the trainer has created its own.

        Parameters
        ----------
        unset
            Targets without statistics, for error messages.

        Raises
        ------
        ValueError
            If the trainer does not train, or there are several training loaders.
        """
        if self.trainer.state.fn != "fit":
            raise ValueError(
                'normalize_kwargs="auto" needs a data module with target_statistics(), but the trainer has '
                f"none. Pass the statistics of {unset} in normalize_kwargs, or load a checkpoint"
            )
        loaders = self.trainer.fit_loop._data_source.dataloader()
        loaders = getattr(loaders, "iterables", loaders)  # if it is a CombinedLoader
        loader = loaders if self.scope is None else self.scope.loader_of(loaders)
        if isinstance(loader, (Mapping, list, tuple)):
            raise ValueError(
                f'normalize_kwargs="auto" reads one training loader, got {len(loader)}. Pass the statistics '
                f"of {unset} in normalize_kwargs"
            )
        return cast("Iterable[TaskBatch]", loader)
