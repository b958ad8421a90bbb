"""Check and complete the arguments of `MultiTaskLitModule`, and share one encoder among its tasks."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import nn

from mml_tasks.base import BaseTaskModule
from mml_tasks.losses.loss_functions import check_loss_scaling

logger = logging.getLogger(__name__)


def check_tasks(tasks: Sequence[object]) -> None:
    """Raise an error if ``tasks`` are not pairs of data set name and task, or cannot be trained together."""
    if not tasks:
        raise ValueError("MultiTaskLitModule needs at least one task. Pass pairs of data set name and task")
    names: list[str] = []
    for pair in tasks:
        if not (
            isinstance(pair, Sequence)
            and len(pair) == 2
            and isinstance(pair[0], str)
            and isinstance(pair[1], BaseTaskModule)
        ):
            raise TypeError(
                f"tasks must be pairs of data set name and task, got {type(pair).__name__} {pair!r:.80}"
            )
        dataset, task = pair
        if not dataset or "." in dataset or "/" in dataset or hasattr(nn.ModuleDict(), dataset):
            raise ValueError(
                f"data set {dataset!r} has an invalid name, because modules are named after data sets. "
                "Rename it"
            )
        name = f"{dataset}/{type(task).__name__}"
        if name in names:
            raise ValueError(f"task {name} was passed twice. Pass one task with the task_keys of both")
        for option in ("scheduler_kwargs", "lr_scaling"):
            if getattr(task, option):
                raise ValueError(
                    f"task {name} has {option}, but all tasks share one optimizer. Pass {option} to "
                    "MultiTaskLitModule"
                )
        names.append(name)


def check_options(options: Mapping[str, object]) -> None:
    """Raise an error for unknown options of AdamW."""
    known = set(torch.optim.AdamW([torch.zeros(1)]).defaults)
    unknown = sorted(set(options) - known)
    if unknown:
        raise ValueError(
            f"MultiTaskLitModule got unknown arguments {unknown}, expected options of the optimizer, "
            f"{sorted(known)}"
        )


def share_encoder(task: BaseTaskModule, encoder: nn.Module, first: BaseTaskModule) -> None:
    """Replace the encoder of a task by the shared encoder, if both have the same class and weight shapes."""
    if task.freeze_encoder != first.freeze_encoder:
        raise ValueError("freeze_encoder must be the same for all tasks, because they share one encoder")
    if task.encoder is encoder:
        return
    shapes = [
        {name: tuple(value.shape) for name, value in each.state_dict().items()}
        for each in (task.encoder, encoder)
    ]
    if type(task.encoder) is not type(encoder) or shapes[0] != shapes[1]:
        raise ValueError(
            f"the encoder of {type(task).__name__} ({type(task.encoder).__name__}) differs from that of "
            f"{type(first).__name__} ({type(encoder).__name__}), but all tasks share one encoder. Create "
            "them with the same encoder"
        )
    logger.info("%s uses the encoder of %s", type(task).__name__, type(first).__name__)
    task.encoder = encoder


def task_weights(
    given: Sequence[float] | Mapping[str, float] | None, names: Sequence[str]
) -> dict[str, float]:
    """Return the weight of every task; ``given`` contains weights in the order of ``names`` or by name."""
    if given is None:
        return dict.fromkeys(names, 1.0)
    if not isinstance(given, Mapping):
        if len(given) != len(names):
            raise ValueError(
                f"task_scaling has {len(given)} weights, expected one for each of the tasks {list(names)}"
            )
        given = dict(zip(names, given, strict=True))
    check_loss_scaling(given, names)
    return dict.fromkeys(names, 1.0) | {name: float(value) for name, value in given.items()}


def set_task_keys(
    task_map: nn.ModuleDict, given: Mapping[str, Sequence[str] | Mapping[str, Sequence[str]]]
) -> None:
    """Set the targets of tasks that were created without targets.

    Parameters
    ----------
    task_map
        Nested mapping from data set name to class name to task.
    given
        Dict from data set name to targets, or to a dict from class name to targets.

    Raises
    ------
    ValueError
        If a data set or a task does not exist, or a task already has other targets.
    """
    for dataset, keys in given.items():
        if dataset not in task_map:
            raise ValueError(
                f"task_keys has the unknown data set {dataset!r}, expected one of {list(task_map)}"
            )
        tasks = dict(cast("nn.ModuleDict", task_map[dataset]).items())
        if not isinstance(keys, Mapping):
            if len(tasks) > 1:
                raise ValueError(
                    f"task_keys[{dataset!r}] must be a dict with one of the tasks {list(tasks)} as key"
                )
            keys = {next(iter(tasks)): keys}
        for kind, names in keys.items():
            if kind not in tasks:
                raise ValueError(
                    f"task_keys[{dataset!r}] has the unknown task {kind!r}, expected one of {list(tasks)}"
                )
            task = cast("BaseTaskModule", tasks[kind])
            if task.task_keys is None:
                task.set_task_keys(names)
            elif set(task.task_keys) != set(names):
                raise ValueError(
                    f"task_keys[{dataset!r}] has {list(names)} for {kind}, but this task was created with "
                    f"{task.task_keys}. Pass the targets only once"
                )
