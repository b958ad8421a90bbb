"""Build the optimizer of a task, and learning-rate schedulers by name."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch.optim import lr_scheduler

_HORIZONS = ("total_steps", "T_max")
_COMPOSITE = ("SequentialLR", "ChainedScheduler")
_WARM_UPS = ("LinearLR", "ConstantLR", "PolynomialLR")
"""Schedulers whose ``total_iters`` defaults to the number of steps until the next milestone of a sequence."""
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
        Parameters, or parameter groups with their own options.
    scheduler_kwargs
        Dict from the class name of a scheduler to its arguments; see `make_scheduler`.
    estimate_steps
        Function that returns the number of optimizer steps of the run; called only if the number is needed.
    **options
        Options of AdamW, such as ``lr`` and ``weight_decay``.
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
    """Build one scheduler and the options with which Lightning steps it.

    Some schedulers need the length of the run: ``total_steps`` of ``OneCycleLR``, ``T_max`` of
    ``CosineAnnealingLR``. If it is not given, it is set to the number of optimizer steps of the run, and the
    scheduler is stepped once per optimizer step. Every ``OneCycleLR``, whose ``max_lr`` defaults to the
    task's ``lr``, and ``SequentialLR`` and ``ChainedScheduler`` are also stepped once per optimizer step. All
    other schedulers count epochs, as in Lightning, unless ``interval`` is among their arguments.

    ``SequentialLR`` and ``ChainedScheduler`` take ``schedulers``, a list of dicts, each with one scheduler
    name and its arguments. ``milestones`` of ``SequentialLR`` are steps, or fractions of the run if they are
    below 1. A scheduler between two milestones that needs a length gets the number of steps between them. For
    example, warm-up and decay::

        {"SequentialLR": {
            "schedulers": [{"LinearLR": {"start_factor": 0.01}}, {"CosineAnnealingLR": {}}],
            "milestones": [0.05],
        }}

    Parameters
    ----------
    name
        Name of a class in ``torch.optim.lr_scheduler``.
    kwargs
        Arguments of the scheduler. ``interval``, ``frequency`` and ``monitor`` are passed to Lightning
        instead.
    optimizer
        Optimizer whose learning rate is scheduled.
    lr
        Learning rate of the task, or a list with one for each parameter group of the optimizer.
    estimate_steps
        Function that returns the number of optimizer steps of the run; called only if the number is needed.

    Returns
    -------
    dict
        Configuration of the scheduler for Lightning, with ``"scheduler"`` and ``"interval"``.

    Raises
    ------
    ValueError
        If the scheduler is unknown, its arguments are invalid, or it needs the length of a run without an
        end.
    """
    lightning = {key: kwargs[key] for key in _LIGHTNING_NAMES if key in kwargs}
    arguments = {key: value for key, value in kwargs.items() if key not in _LIGHTNING_NAMES}
    where = f"scheduler_kwargs[{name!r}]"
    if name in _COMPOSITE:
        scheduler, per_step = _compose(name, arguments, optimizer, lr, estimate_steps), True
    else:
        scheduler, per_step = _build(name, arguments, optimizer, lr, estimate_steps, where)
    config: dict[str, Any] = {"scheduler": scheduler, "interval": "step" if per_step else "epoch"}
    if name == "ReduceLROnPlateau":
        config["monitor"] = "val_loss"
    return config | lightning


def _build(
    name: str,
    arguments: dict[str, Any],
    optimizer: torch.optim.Optimizer,
    lr: float | list[float],
    length: Callable[[], float],
    where: str,
) -> tuple[Any, bool]:
    """Return a scheduler, and whether it counts steps instead of epochs."""
    if name not in known_schedulers():
        raise ValueError(f"{where} is not a known scheduler, expected one of {known_schedulers()}")
    scheduler_class = getattr(lr_scheduler, name)
    parameters = inspect.signature(scheduler_class).parameters
    unknown = sorted(set(arguments) - set(parameters))
    if unknown:
        known = sorted((set(parameters) - {"optimizer"}) | set(_LIGHTNING_NAMES))
        raise ValueError(f"{where} has unknown arguments {unknown}, expected some of {known}")
    per_step = name == "OneCycleLR"
    if per_step:
        arguments.setdefault("max_lr", lr)
    horizon = next((key for key in _HORIZONS if key in parameters), None)
    if horizon is not None and horizon not in arguments and "epochs" not in arguments:
        arguments[horizon] = _finite(length(), where, horizon)
        per_step = True
    try:
        return scheduler_class(optimizer, **arguments), per_step
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where} has invalid arguments: {error}") from error


def _compose(
    name: str,
    arguments: dict[str, Any],
    optimizer: torch.optim.Optimizer,
    lr: float | list[float],
    estimate_steps: Callable[[], float],
) -> Any:
    """Return a scheduler that combines other schedulers and counts steps."""
    where = f"scheduler_kwargs[{name!r}]"
    parts = arguments.get("schedulers")
    known = {"schedulers", "milestones"} if name == "SequentialLR" else {"schedulers"}
    if unknown := sorted(set(arguments) - known):
        raise ValueError(f"{where} has unknown arguments {unknown}, expected some of {sorted(known)}")
    if not isinstance(parts, Sequence) or not all(isinstance(p, Mapping) and len(p) == 1 for p in parts):
        raise ValueError(
            f"'schedulers' of {where} must be a list of dicts with one name each, such as "
            f"[{{'LinearLR': {{'start_factor': 0.1}}}}, {{'CosineAnnealingLR': {{}}}}], got {parts!r}"
        )
    bounds: list[int] = []
    if name == "SequentialLR":
        milestones = arguments.get("milestones", [])
        if len(milestones) != len(parts) - 1:
            raise ValueError(
                f"{where} must have one milestone fewer than schedulers, got {len(milestones)} milestones "
                f"for {len(parts)} schedulers"
            )
        bounds = [
            round(m * _finite(estimate_steps(), where, "the length of the run")) if 0 < m < 1 else int(m)
            for m in milestones
        ]
    made = []
    for i, part in enumerate(parts):
        ((kind, options),) = part.items()
        first = bounds[i - 1] if i and bounds else 0
        last: Callable[[], float] = estimate_steps if i >= len(bounds) else (lambda i=i: bounds[i])  # type: ignore[misc]
        steps: Callable[[], float] = lambda first=first, last=last: last() - first  # type: ignore[misc]  # noqa: E731
        options = dict(options or {})
        if kind in _WARM_UPS and "total_iters" not in options:
            options["total_iters"] = _finite(steps(), where, "total_iters")
        made.append(_build(kind, options, optimizer, lr, steps, f"{where}.schedulers[{i}]")[0])
    with warnings.catch_warnings():
        # torch 2.15 warns about its own use of a deprecated argument of step().
        warnings.filterwarnings("ignore", message=".*epoch parameter in `scheduler.step\\(\\)`.*")
        if name == "SequentialLR":
            return lr_scheduler.SequentialLR(optimizer, made, bounds)
        return lr_scheduler.ChainedScheduler(made, optimizer)


def _finite(steps: float, where: str, horizon: str) -> int:
    if not math.isfinite(steps):
        raise ValueError(
            f"{where} needs {horizon}, which cannot be inferred because the trainer has no last step. Pass "
            "it, or set max_epochs or max_steps of the trainer"
        )
    return max(int(steps), 1)
