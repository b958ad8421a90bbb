"""Optimizer and learning-rate scheduler of the command line, which take the place of the task's own."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pytorch_lightning import LightningModule
from pytorch_lightning.cli import LightningCLI, instantiate_class

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


def configure_optimizers(module: LightningModule, optimizer: Any, scheduler: Any) -> Any:
    """Return new optimizers and schedulers of the command line, for the parameters that the module has now.

    Lightning's command line makes them once, before the module has seen the data: heads of targets that are
    found in the data would never be trained, and options of a run that is continued could not be compared.

    Parameters
    ----------
    module
        The module that is trained.
    optimizer, scheduler
        Class path and arguments; the scheduler may be None.
    """
    made = instantiate_class([p for p in module.parameters() if p.requires_grad], optimizer)
    schedule = instantiate_class(made, scheduler) if scheduler else None
    return LightningCLI.configure_optimizers(module, made, schedule)
