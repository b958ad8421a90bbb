"""Optimizer and learning-rate scheduler of the command line, which take the place of the task's own."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pytorch_lightning import LightningModule

_IGNORED = ("scheduler_kwargs", "lr_scaling", "weight_decay")


def check_optimizer(config: Any, given: Collection[str]) -> str | None:
    """Refuse options that an optimizer of the command line would switch off silently.

    Parameters
    ----------
    config
        The parsed config of a fit.
    given
        The keys that the command line gives.

    Returns
    -------
    str or None
        What is not used then, in one sentence.

    Raises
    ------
    ValueError
        If there is a scheduler without an optimizer, or the model is told how to make its own optimizer.
    """
    optimizer, scheduler = config.get("optimizer"), config.get("lr_scheduler")
    if not optimizer:
        if scheduler:
            name = scheduler["class_path"].rpartition(".")[2]
            raise ValueError(
                f"--lr_scheduler {name} has no effect without --optimizer: give both, as in "
                f"--optimizer AdamW --optimizer.lr 0.001 --lr_scheduler {name}, or have the task make it: "
                f"--model.init_args.scheduler_kwargs '{{{name}: {{}}}}' with its arguments in the braces"
            )
        return None
    options = (config.get("model") or {}).get("init_args") or {}
    if set_ := [key for key in _IGNORED if options.get(key)]:
        remedy = " ".join(
            f"--model.init_args.{key} {'0' if key == 'weight_decay' else 'null'}" for key in set_
        )
        raise ValueError(
            f"--optimizer takes the place of the task's own, which {' and '.join(set_)} of the model "
            f"belong to: leave out --optimizer, or add {remedy}"
        )
    if any(key in given for key in ("model.lr", "model.init_args.lr")):
        raise ValueError(
            "--optimizer has a learning rate of its own, so that of the model would not be used: give "
            "--optimizer.lr, or leave out --optimizer"
        )
    if "lr" in options:
        return f"model lr {options['lr']} is not used: the optimizer is {optimizer['class_path']}"
    return None


def add_late_parameters(module: LightningModule, optimizer: Any) -> None:
    """Give an optimizer that was made early the parameters that the module got since.

    Lightning's command line makes the optimizer before the module has seen the data. Heads of targets that
    are found in the data would never be trained.

    Parameters
    ----------
    module
        The module that is going to be trained.
    optimizer
        Of the module's parameters so far.
    """
    known = {id(p) for group in optimizer.param_groups for p in group["params"]}
    late = [p for p in module.parameters() if id(p) not in known]
    optimizer.param_groups[0]["params"].extend(late)
