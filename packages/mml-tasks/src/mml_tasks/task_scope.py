"""Where a task stands that is part of another module: what it logs as, and which data are its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl

from mml_tasks.protocols import HasTargetStatistics


@dataclass(frozen=True)
class TaskScope:
    """The place of a task in a module of several.

    Parameters
    ----------
    module
        The one that the trainer knows.
    name
        What metrics of the task begin with, before a slash.
    dataset
        The data set that the task learns from.
    datasets
        Those of all tasks of the module.
    """

    module: pl.LightningModule
    name: str
    dataset: str
    datasets: tuple[str, ...]

    def log(self, name: str, value: Any, **options: Any) -> None:
        """Log through the module, under the task's name."""
        options |= {"prog_bar": False, "add_dataloader_idx": False}
        self.module.log(f"{self.name}/{name}", value, **options)

    def loader_of(self, loaders: Any) -> Any:
        """Return the task's own loader where there is one for each data set."""
        loaders = getattr(loaders, "iterables", loaders)  # of a CombinedLoader
        return loaders.get(self.dataset, loaders) if isinstance(loaders, Mapping) else loaders

    def statistics(self) -> Mapping[str, Mapping[str, Any]] | None:
        """Return the statistics of the data set's targets, or None where the data module has none.

        A data module of several data sets has them by the name of the data set.

        Raises
        ------
        ValueError
            If there are several data sets, and the data module's statistics are not told apart by them.
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
            f"target_statistics() of {type(datamodule).__name__} must have an entry for each data set "
            f"({list(self.datasets)}), and has {sorted(found)}"
        )
