"""Describe the position of a task inside another module: its name for logging and its data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl

from mml_tasks.protocols import HasTargetStatistics, Statistics


@dataclass(frozen=True)
class TaskScope:
    """Position of a task inside a module of several tasks.

    Parameters
    ----------
    module
        The module that the trainer trains.
    name
        Prefix of the task's metrics, followed by a slash.
    dataset
        Data set of the task.
    datasets
        Data sets of all tasks of the module.
    """

    module: pl.LightningModule
    name: str
    dataset: str
    datasets: tuple[str, ...]

    def log(self, name: str, value: Any, **options: Any) -> None:
        """Log through the module, under the name of the task."""
        options |= {"prog_bar": False, "add_dataloader_idx": False}
        self.module.log(f"{self.name}/{name}", value, **options)

    def loader_of(self, loaders: object) -> object:
        """Return the loader of the task's data set, if each data set has its own loader; else all loaders."""
        loaders = getattr(loaders, "iterables", loaders)  # if it is a CombinedLoader
        return loaders.get(self.dataset, loaders) if isinstance(loaders, Mapping) else loaders

    def statistics(self) -> Mapping[str, Statistics] | None:
        """Return the statistics of the data set's targets, or None if the data module does not provide any.

        A data module of several data sets provides them by the name of the data set.

        Raises
        ------
        ValueError
            If there are several data sets, and the statistics of the data module are not grouped by data set.
        """
        datamodule = getattr(self.module.trainer, "datamodule", None)
        if not isinstance(datamodule, HasTargetStatistics):
            return None
        found: Mapping[str, Any] = datamodule.target_statistics()
        if self.dataset in found and all(isinstance(v, Mapping) for v in found[self.dataset].values()):
            return found[self.dataset]
        if len(self.datasets) == 1:
            return found
        raise ValueError(
            f"target_statistics() of {type(datamodule).__name__} must have one entry for each of the data "
            f"sets {list(self.datasets)}, got {sorted(found)}"
        )
