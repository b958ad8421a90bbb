"""Training data of a task as seen through its trainer: stored statistics, and the training loader."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import pytorch_lightning as pl
from mml_samples import Batch

from mml_tasks.batches import missing_target
from mml_tasks.protocols import HasTargetStatistics, Statistics
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

    def elements(self) -> list[str] | None:
        """Return the symbols of the elements in the training split, or None if they are unknown."""
        found = getattr(getattr(self.trainer, "datamodule", None), "training_elements", None)
        return None if found is None or self.scope is not None else list(found())

    def loader(self, unset: Sequence[str]) -> Iterable[Batch]:
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
        return cast("Iterable[Batch]", loader)


def inferred_keys(
    task: str,
    infer: Callable[[Mapping[str, Statistics]], list[str]],
    statistics: Mapping[str, Statistics] | None,
) -> list[str]:
    """Return the targets of the data that a task can learn.

    Parameters
    ----------
    task
        Name of the task, for error messages.
    infer
        Function that selects targets by their statistics.
    statistics
        Statistics of the training data, None if the data module does not provide them.

    Raises
    ------
    ValueError
        If there are no statistics, or the task cannot learn any target.
    """
    if statistics is None:
        raise ValueError(
            f"{task} has no task_keys, and no data module provides target_statistics() to infer them from. "
            "Pass task_keys"
        )
    keys = infer(statistics)
    if not keys:
        raise ValueError(f"{task} cannot learn any of the targets {sorted(statistics)}. Pass task_keys")
    return keys


def check_labels(keys: Iterable[str], statistics: Mapping[str, Statistics]) -> None:
    """Raise an error for invalid targets.

    Raises
    ------
    ValueError
        If the data lack a target, or every label of a target is missing.
    """
    for key in keys:
        if key not in statistics:
            raise missing_target(key, statistics, "the data set")
        if statistics[key].get("missing") and not statistics[key].get("count"):
            raise ValueError(
                f"target {key!r} is missing in every sample of the training data. Remove it from task_keys, "
                "or add labels"
            )


TASK_OF_KIND = {
    "scalar": "ScalarRegressionTask",
    "vector": "VectorRegressionTask",
    "tensor": "TensorRegressionTask, or ForceRegressionTask with compute_stress=True for the stress",
    "spectrum": "SpectrumRegressionTask",
    "class": "MulticlassClassificationTask or BinaryClassificationTask",
    "per_atom": "ForceRegressionTask or GradFreeForceRegressionTask if it is the force",
}
"""Tasks that learn the targets of each kind."""


def check_kinds(
    task: str, kinds: Collection[str], keys: Iterable[str], statistics: Mapping[str, Statistics]
) -> None:
    """Raise an error for a target of another kind than those that a task learns.

    Parameters
    ----------
    task
        Name of the task, for error messages.
    kinds
        Kinds that the task learns. Targets of unknown kind are accepted.
    keys
        Targets of the task.
    statistics
        Statistics of the training data, by target.

    Raises
    ------
    ValueError
        If a target has another kind. The message names the task that learns it.
    """
    for key in keys:
        kind = statistics.get(key, {}).get("kind")
        if kind in TASK_OF_KIND and kind not in kinds:
            raise ValueError(
                f"target {key!r} is of kind {kind!r}, but {task} learns targets of kind "
                f"{' or '.join(sorted(kinds))}. Use {TASK_OF_KIND[kind]}"
            )
