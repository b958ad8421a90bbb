"""Describe the tasks of a `MultiTaskLitModule` in its checkpoint, and rebuild them from this description."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from mml_tasks.base import BaseTaskModule
from mml_tasks.hyperparameters import class_path, import_class
from mml_tasks.protocols import Checkpoint

CHECKPOINT_KEY = "multitask"
"""Key of a checkpoint: a description of the tasks and of their checkpoint data, in plain types."""


def described_tasks(tasks: Mapping[str, BaseTaskModule]) -> dict[str, dict[str, Any]]:
    """Return the class, the hyperparameters and the checkpoint data of each task, in plain types."""
    described = {}
    for name, task in tasks.items():
        kept: Checkpoint = {}
        task.on_save_checkpoint(kept)
        described[name] = {
            "class_path": class_path(type(task)),
            "hyper_parameters": dict(task.hparams),
            "kept": kept,
        }
    return described


def restore_tasks(tasks: Mapping[str, BaseTaskModule], checkpoint: Checkpoint) -> None:
    """Pass the checkpoint data of each task to that task.

    Values with which a task overrides those of the checkpoint are written to ``checkpoint["state_dict"]``.

    Raises
    ------
    ValueError
        If the tasks of the checkpoint differ from ``tasks``.
    """
    described = _described(checkpoint)
    if set(described) != set(tasks):
        raise ValueError(
            f"the checkpoint has the tasks {sorted(described)}, but this module has {sorted(tasks)}. Create "
            "the module with the same data set names and tasks"
        )
    for name, task in tasks.items():
        state: dict[str, Tensor] = {}
        task.on_load_checkpoint({**described[name]["kept"], "state_dict": state})
        prefix = f"task_map.{name.replace('/', '.')}."
        checkpoint["state_dict"] |= {prefix + key: value for key, value in state.items()}


def rebuilt_tasks(checkpoint: Checkpoint, encoder: nn.Module | None) -> list[tuple[str, BaseTaskModule]]:
    """Return new tasks as described in a checkpoint, in pairs with the names of their data sets.

    Parameters
    ----------
    checkpoint
        A checkpoint of a `MultiTaskLitModule`.
    encoder
        Encoder of the tasks. Default: the encoder that the checkpoint describes.
    """
    tasks: list[tuple[str, BaseTaskModule]] = []
    for name, entry in _described(checkpoint).items():
        task_class = import_class(entry["class_path"], "class_path", BaseTaskModule)
        arguments = dict(entry["hyper_parameters"])
        if tasks or encoder is not None:
            arguments |= {"encoder_class": None, "encoder_kwargs": None}
            arguments["encoder"] = tasks[0][1].encoder if tasks else encoder
        tasks.append((name.rpartition("/")[0], task_class(**arguments)))
    return tasks


def stored_options(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the keyword arguments of the `MultiTaskLitModule` that wrote a checkpoint."""
    stored: dict[str, Any] = checkpoint["hyper_parameters"]
    names = {"task_scaling", "scheduler_kwargs", "lr_scaling"} & set(stored)
    return {name: stored[name] for name in names} | (stored.get("encoder_opt_kwargs") or {})


def _described(checkpoint: Checkpoint) -> dict[str, Any]:
    if CHECKPOINT_KEY not in checkpoint:
        raise ValueError(
            "the checkpoint is not from a MultiTaskLitModule. Load it with the class of its task"
        )
    described: dict[str, Any] = checkpoint[CHECKPOINT_KEY]
    return described
