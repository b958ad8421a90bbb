"""Group the parameters of several tasks for one optimizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from mml_tasks.base import BaseTaskModule


def parameter_groups(
    encoder: nn.Module, options: Mapping[str, object], tasks: Sequence[BaseTaskModule]
) -> list[dict[str, Any]]:
    """Return a group for the encoder and one for the other parameters of each task.

    Frozen parameters are left out, and groups without parameters as well.

    Parameters
    ----------
    encoder
        The encoder that all tasks share.
    options
        Options of the optimizer for the encoder's parameters.
    tasks
        Tasks with their own learning rate and weight decay.
    """
    shared = {id(parameter) for parameter in encoder.parameters()}
    groups: list[dict[str, Any]] = [{"params": encoder.parameters(), **options}]
    for task in tasks:
        own = [parameter for parameter in task.parameters() if id(parameter) not in shared]
        groups.append({"params": own, "lr": task.lr, "weight_decay": task.weight_decay})
    for group in groups:
        group["params"] = [parameter for parameter in group["params"] if parameter.requires_grad]
    return [group for group in groups if group["params"]]
