"""Optimizer and learning-rate scheduler of the command line, which replace those of the task."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pytorch_lightning import LightningModule
from pytorch_lightning.cli import LightningCLI, instantiate_class

_IGNORED = ("scheduler_kwargs", "lr_scaling", "weight_decay")


def check_optimizer(config: Any, given: Collection[str]) -> str | None:
    """Reject options that would silently have no effect because of the command line's optimizer.

    Parameters
    ----------
    config
        The parsed config of a fit.
    given
        Keys that are set on the command line.

    Returns
    -------
    str or None
        A sentence that names the unused option. None if all options are used.

    Raises
    ------
    ValueError
        If a scheduler is set without an optimizer, or if an optimizer is set together with options for the
        model's own optimizer.
    """
    optimizer, scheduler = config.get("optimizer"), config.get("lr_scheduler")
    if not optimizer:
        if scheduler:
            name = scheduler["class_path"].rpartition(".")[2]
            raise ValueError(
                f"--lr_scheduler {name} has no effect without --optimizer; pass both, for example "
                f"--optimizer AdamW --optimizer.lr 0.001 --lr_scheduler {name}, or pass "
                f"--model.init_args.scheduler_kwargs '{{{name}: {{}}}}' with the arguments in the "
                "inner braces"
            )
        return None
    options = (config.get("model") or {}).get("init_args") or {}
    if set_ := [key for key in _IGNORED if options.get(key)]:
        remedy = " ".join(
            f"--model.init_args.{key} {'0' if key == 'weight_decay' else 'null'}" for key in set_
        )
        raise ValueError(
            f"--optimizer replaces the optimizer of the task, so {' and '.join(set_)} of the model would be "
            f"ignored; remove --optimizer, or add {remedy}"
        )
    if any(key in given for key in ("model.lr", "model.init_args.lr")):
        raise ValueError(
            "--optimizer replaces the optimizer of the task, so lr of the model would be ignored; pass "
            "--optimizer.lr, or remove --optimizer"
        )
    if "lr" in options:
        return f"lr {options['lr']} of the model is ignored, because --optimizer is {optimizer['class_path']}"
    return None


def configure_optimizers(module: LightningModule, optimizer: Any, scheduler: Any) -> Any:
    """Create the optimizer and scheduler of the command line for the module's current parameters.

    Lightning's command line creates them before the module has seen the data. Heads of targets that are found
    in the data would then never be trained, and the options of a continued run could not be compared.

    Parameters
    ----------
    module
        Module to train.
    optimizer, scheduler
        Class path and arguments. The scheduler may be None.
    """
    made = instantiate_class([p for p in module.parameters() if p.requires_grad], optimizer)
    schedule = instantiate_class(made, scheduler) if scheduler else None
    return LightningCLI.configure_optimizers(module, made, schedule)
