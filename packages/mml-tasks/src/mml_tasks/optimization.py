"""The optimizer of a task, and learning-rate schedulers by name."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch.optim import lr_scheduler

_HORIZONS = ("total_steps", "T_max")
_LIGHTNING_NAMES = ("interval", "frequency", "monitor")


def make_optimizers(
    parameters: Iterable[Any],
    scheduler_kwargs: Mapping[str, Mapping[str, Any] | None],
    estimate_steps: Callable[[], float],
    **options: Any,
) -> Any:
    """Build AdamW and its schedulers, in the form that ``configure_optimizers`` returns.

    Parameters
    ----------
    parameters
        Parameters, or groups of them with options of their own.
    scheduler_kwargs
        Schedulers by the name of their class, each with its arguments; see `make_scheduler`.
    estimate_steps
        Returns the number of optimizer steps of the run; called only where it is needed.
    options
        Of AdamW: ``lr``, ``weight_decay``.
    """
    optimizer = torch.optim.AdamW(parameters, **options)
    if not scheduler_kwargs:
        return optimizer
    rates = [group["lr"] for group in optimizer.param_groups]
    schedulers = [
        make_scheduler(name, kwargs or {}, optimizer, rates[0] if len(rates) == 1 else rates, estimate_steps)
        for name, kwargs in scheduler_kwargs.items()
    ]
    return [optimizer], schedulers


def known_schedulers() -> list[str]:
    """Return the names of torch's learning-rate schedulers."""
    return sorted(
        name
        for name, value in vars(lr_scheduler).items()
        if isinstance(value, type)
        and issubclass(value, lr_scheduler.LRScheduler)
        and value is not lr_scheduler.LRScheduler
        and not name.startswith("_")
    )


def make_scheduler(
    name: str,
    kwargs: Mapping[str, Any],
    optimizer: torch.optim.Optimizer,
    lr: float | list[float],
    estimate_steps: Callable[[], float],
) -> dict[str, Any]:
    """Build one scheduler and say how Lightning steps it.

    A scheduler that needs to know the length of the run (``total_steps`` of ``OneCycleLR``, ``T_max`` of
    ``CosineAnnealingLR``) and is not told gets the run's number of optimizer steps, and is stepped once for
    each of them. So is every ``OneCycleLR``, whose ``max_lr`` defaults to the task's ``lr``. All others count
    epochs, as Lightning does, unless ``interval`` is among their arguments.

    Parameters
    ----------
    name
        A class of ``torch.optim.lr_scheduler``.
    kwargs
        Its arguments; ``interval``, ``frequency`` and ``monitor`` go to Lightning instead.
    optimizer
        What it schedules.
    lr
        The task's learning rate, or one for each of the optimizer's groups of parameters.
    estimate_steps
        Returns the number of optimizer steps of the run; called only where it is needed.

    Raises
    ------
    ValueError
        If the scheduler is unknown, its arguments do not fit, or the run has no end to be told of.
    """
    if name not in known_schedulers():
        raise ValueError(
            f"scheduler_kwargs names the unknown scheduler {name!r}; known are {known_schedulers()}"
        )
    scheduler_class = getattr(lr_scheduler, name)
    parameters = inspect.signature(scheduler_class).parameters
    lightning = {key: kwargs[key] for key in _LIGHTNING_NAMES if key in kwargs}
    arguments = {key: value for key, value in kwargs.items() if key not in _LIGHTNING_NAMES}
    unknown = sorted(set(arguments) - set(parameters))
    if unknown:
        known = sorted((set(parameters) - {"optimizer"}) | set(_LIGHTNING_NAMES))
        raise ValueError(f"scheduler_kwargs[{name!r}] has unknown arguments {unknown}; known are {known}")
    horizon = next((key for key in _HORIZONS if key in parameters), None)
    per_step = name == "OneCycleLR"
    if per_step:
        arguments.setdefault("max_lr", lr)
    if horizon is not None and horizon not in arguments and "epochs" not in arguments:
        steps = estimate_steps()
        if not math.isfinite(steps):
            raise ValueError(
                f"scheduler_kwargs[{name!r}] needs {horizon}, which cannot be inferred from a trainer "
                "without an end: give it, or set the trainer's max_epochs or max_steps"
            )
        arguments[horizon] = int(steps)
        per_step = True
    try:
        scheduler = scheduler_class(optimizer, **arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(f"scheduler_kwargs[{name!r}] does not fit: {error}") from error
    config: dict[str, Any] = {"scheduler": scheduler, "interval": "step" if per_step else "epoch"}
    if name == "ReduceLROnPlateau":
        config["monitor"] = "val_loss"
    return config | lightning
