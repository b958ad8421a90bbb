"""Restore optimizers and learning-rate schedules of a run that continues from a checkpoint.

The state of optimizers and schedulers in a checkpoint contains their options. If it is restored unchanged, it
replaces the options that the resumed run was configured with, and a schedule ends, or turns back, at the
planned end of the first run.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import StochasticWeightAveraging
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, ReduceLROnPlateau

logger = logging.getLogger(__name__)

SCHEDULE_KEY = "steps_before_schedule"
"""Key of a checkpoint: the step at which its learning-rate schedule began."""

Scheduler: TypeAlias = LRScheduler | ReduceLROnPlateau

ResumeSchedule = Literal["restart", "stretch", "keep"]

_HORIZONS = {"total_steps", "T_max", "_schedule_phases", "_milestones", "milestones", "total_iters"}
"""Entries of a scheduler's state that depend on the length of the run."""
_PROGRESS = {
    "last_epoch", "_step_count", "_last_lr", "_get_lr_called_within_step", "_is_initial", "best",
    "num_bad_epochs", "cooldown_counter", "T_cur", "T_i", "verbose",
}  # fmt: skip
"""Entries of a scheduler's state that change from step to step."""


def resume_optimization(module: Any, mode: ResumeSchedule | None) -> None:
    """Compare the configuration of a resumed run with its checkpoint, and resolve differences.

    This function is called when training starts. ``"restart"`` starts the configured schedule again over the
    remaining steps. ``"stretch"`` continues on the configured schedule of the new length, at the current
    step. ``"keep"`` follows the checkpoint's schedule to its end and then keeps the learning rate.
    ``"restart"`` and ``"stretch"`` also apply the configured options of the optimizer.

    Parameters
    ----------
    module
        The module that is trained. Its ``configure_optimizers`` must return new optimizers at each call, with
        schedules for the steps after its ``steps_before_schedule``. Its ``saved_schedulers`` are the states
        of the checkpoint's schedulers.
    mode
        How to resolve differences. None raises an error for any difference.

    Raises
    ------
    ValueError
        If ``mode`` does not resolve all differences, or is unknown.
    """
    if mode not in (None, *get_args(ResumeSchedule)):
        raise ValueError(f"resume_schedule must be one of {list(get_args(ResumeSchedule))}, got {mode!r}")
    trainer = module.trainer
    old_optimizers, old_schedulers = trainer.optimizers, _schedulers_of(trainer)
    new_optimizers, new_schedulers = _configured(module)
    if len(new_optimizers) != len(old_optimizers) or len(new_schedulers) != len(old_schedulers):
        return
    options = [
        line
        for old, new in zip(old_optimizers, new_optimizers, strict=True)
        for line in _different_options(old, new, new_schedulers, trainer)
    ]
    horizons: list[str] = []
    saved = list(module.saved_schedulers)
    same_kinds = [set(state) for state in saved] == [set(new.state_dict()) for new in new_schedulers]
    if not same_kinds:
        names = [type(new).__name__ for new in new_schedulers]
        options.append(
            f"the config has the schedulers {names}, but the checkpoint has {len(saved)} different ones"
        )
    for old, new in zip(old_schedulers, new_schedulers, strict=True) if same_kinds else ():
        name = type(old).__name__
        options += _differences(old.state_dict(), new.state_dict(), name, _HORIZONS | _PROGRESS)
        horizons += _differences(old.state_dict(), new.state_dict(), name, _PROGRESS)
    horizons = [line for line in horizons if line not in options and "_schedule_phases" not in line]
    if (options and mode in (None, "keep")) or (horizons and mode is None):
        raise ValueError(_refusal(options, horizons, mode))
    if mode == "restart":
        module.steps_before_schedule = trainer.global_step
        _, new_schedulers = _configured(module)
        new_optimizers = [scheduler.optimizer for scheduler in new_schedulers] or new_optimizers
    elif mode == "stretch":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch expects an optimizer step before each scheduler step
            for config, new in zip(trainer.lr_scheduler_configs, new_schedulers, strict=True):
                done = trainer.global_step if config.interval == "step" else trainer.current_epoch
                if same_kinds:
                    done = config.scheduler.last_epoch
                for _ in range(0 if isinstance(new, ReduceLROnPlateau) else done):
                    new.step()
    if mode in ("restart", "stretch"):
        for optimizer, configured in zip(old_optimizers, new_optimizers, strict=False):
            for group, fresh in zip(optimizer.param_groups, configured.param_groups, strict=True):
                group.update({name: value for name, value in fresh.items() if name != "params"})
        for old, new in zip(old_schedulers, new_schedulers, strict=True):
            old.load_state_dict(new.state_dict())
    elif mode == "keep":
        for scheduler in old_schedulers:
            _settle(scheduler)
    if mode is not None and trainer.is_global_zero:
        rates = [group["lr"] for optimizer in old_optimizers for group in optimizer.param_groups]
        logger.info(
            "learning-rate schedule: %s from step %d on, with lr %s", mode, trainer.global_step, rates
        )


def _settle(scheduler: Scheduler) -> None:
    """Set the final rate of a finished one-cycle schedule, as torch's last step goes beyond its end."""
    if not isinstance(scheduler, OneCycleLR) or scheduler.last_epoch < scheduler.total_steps:
        return
    for group in scheduler.optimizer.param_groups:
        group["lr"] = group["min_lr"]
        if "max_momentum" in group and "betas" in group:
            group["betas"] = (group["max_momentum"], *group["betas"][1:])
        elif "max_momentum" in group:
            group["momentum"] = group["max_momentum"]


def check_horizon(module: pl.LightningModule) -> None:
    """Raise an error for a one-cycle schedule that is shorter than the run, before it fails during training.

    Raises
    ------
    ValueError
        If a ``OneCycleLR`` has fewer steps than the trainer is going to take.
    """
    trainer = module.trainer
    for config in trainer.lr_scheduler_configs:
        scheduler = config.scheduler
        if not isinstance(scheduler, OneCycleLR) or config.interval != "step":
            continue
        planned = trainer.estimated_stepping_batches
        if planned > scheduler.total_steps * config.frequency:
            raise ValueError(
                f"OneCycleLR has total_steps={scheduler.total_steps}, but the run has {planned:g} steps. "
                "Leave total_steps out, or train for fewer epochs"
            )


def is_over(scheduler: Scheduler) -> bool:
    """Return whether a schedule of known length has ended."""
    parts = getattr(scheduler, "_schedulers", None)
    if parts:
        return is_over(parts[-1])
    horizon = getattr(scheduler, "total_steps", None) or getattr(scheduler, "T_max", None)
    return horizon is not None and scheduler.last_epoch >= horizon


def _configured(module: Any) -> tuple[list[Optimizer], list[Scheduler]]:
    """Return new optimizers and schedulers."""
    made = module.configure_optimizers()
    if isinstance(made, Optimizer):
        return [made], []
    if isinstance(made, Mapping):
        made = ([made["optimizer"]], [made["lr_scheduler"]] if "lr_scheduler" in made else [])
    if not (isinstance(made, Sequence) and len(made) == 2 and isinstance(made[0], Sequence)):
        return [], []
    schedulers = [each["scheduler"] if isinstance(each, Mapping) else each for each in made[1]]
    return list(made[0]), schedulers


def _schedulers_of(trainer: pl.Trainer) -> list[Scheduler]:
    return [config.scheduler for config in trainer.lr_scheduler_configs]


def _different_options(
    old: Optimizer, new: Optimizer, schedulers: Sequence[Scheduler], trainer: pl.Trainer
) -> list[str]:
    """Return descriptions of the optimizer options that the checkpoint replaced."""
    found: list[str] = []
    if len(old.param_groups) != len(new.param_groups):
        return found  # a callback has added parameter groups
    for before, now in zip(old.param_groups, new.param_groups, strict=True):
        changing = {"params", "lr"} if "initial_lr" in now else {"params"}
        if any(isinstance(scheduler, ReduceLROnPlateau) for scheduler in schedulers):
            changing.add("lr")
        if any(isinstance(c, StochasticWeightAveraging) for c in trainer.callbacks):  # type: ignore[attr-defined]
            changing |= {"lr", "initial_lr"}
        if "max_momentum" in now:
            changing |= {"betas", "momentum"}
        found += _differences(before, now, type(new).__name__, changing)
    return list(dict.fromkeys(found))


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], where: str, without: set[str]) -> list[str]:
    """Return descriptions of entries that differ, except ``without``, also in nested schedulers."""
    found: list[str] = []
    for name, value in new.items():
        if name in without or name not in old:
            continue
        if name == "_schedulers":
            for i, (before, now) in enumerate(zip(old[name], value, strict=False)):
                found += _differences(before, now, f"{where}[{i}]", without)
        elif not _equal(old[name], value):
            found.append(f"{where} {name} is {old[name]} in the checkpoint and {value} in the config")
    return found


def _equal(a: object, b: object) -> bool:
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(_equal(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, torch.Tensor) or isinstance(b, torch.Tensor):
        return bool(torch.equal(torch.as_tensor(a), torch.as_tensor(b)))
    return bool(a == b)


def _refusal(options: Sequence[str], horizons: Sequence[str], mode: str | None) -> str:
    remedy = (
        "set --schedule (resume_schedule of the task): 'restart' starts the configured schedule again over "
        "the remaining steps, 'stretch' continues on the configured schedule of the new length"
    )
    if not options:
        return (
            "the learning-rate schedule of the checkpoint was created for a run of another length: "
            f"{'; '.join(horizons)}. To continue, {remedy}, and 'keep' follows the old schedule to its end "
            "and then keeps the learning rate"
        )
    kept = " 'keep' cannot apply them." if mode == "keep" else ""
    return (
        "the optimizer options of the checkpoint differ from the configured ones, which would be ignored: "
        f"{'; '.join([*options, *horizons])}.{kept} To continue as before, leave these options out. To apply "
        f"them, {remedy}. To start a new run with the weights of the checkpoint, use --init_from (start_from "
        "of the task)"
    )
