"""Build and check the loss functions of a task's targets and their weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Mapping, Sequence
from typing import TypeAlias

from torch import Tensor, nn

from mml_tasks.hyperparameters import class_path, import_class

LossLike: TypeAlias = str | type[nn.Module] | nn.Module

LOSS_MODULES = ("AtomWeightedL1", "AtomWeightedMSE", "ConditionalHuberLoss", "L2NormLoss")
"""Losses of this package that need no arguments, so that they can be given by name."""


def make_losses(
    loss_func: LossLike | Mapping[str, LossLike] | None, keys: Sequence[str], default: type[nn.Module]
) -> nn.ModuleDict:
    """Build one loss module for each target.

    Parameters
    ----------
    loss_func
        A module, its class or its import path, for all targets, or a dict of these by target. A name without
        a package refers to a loss of this package or of ``torch.nn``.
    keys
        The targets.
    default
        Class of the loss for targets that ``loss_func`` does not name.

    Returns
    -------
    ModuleDict
        The loss of each target. Instances in ``loss_func`` are copied.

    Raises
    ------
    ValueError
        If ``loss_func`` names a target that is not in ``keys``, or a loss has ``reduction="none"``.
    TypeError
        If a value is not a loss.
    """
    if isinstance(loss_func, Mapping):
        unknown = sorted(set(loss_func) - set(keys))
        if unknown:
            raise ValueError(f"loss_func has unknown targets {unknown}, expected some of {sorted(keys)}")
        given: dict[str, object] = dict(loss_func)
    else:
        given = dict.fromkeys(keys, loss_func) if loss_func is not None else {}
    losses = {key: _make_loss(given.get(key, default)) for key in keys}
    for key, loss in losses.items():
        if getattr(loss, "reduction", None) == "none":
            raise ValueError(
                f'the loss of target {key!r} has reduction="none", but its result must be a scalar. Use '
                'reduction="mean"; tasks evaluate such losses element by element'
            )
    return nn.ModuleDict(losses)


def _make_loss(loss: object) -> nn.Module:
    if isinstance(loss, nn.Module):
        return copy.deepcopy(loss)
    if isinstance(loss, str):
        own = loss in LOSS_MODULES
        loss = import_class(
            loss,
            "loss_func",
            nn.Module,
            default_module="mml_tasks.losses.loss_modules" if own else "torch.nn",
        )
    if isinstance(loss, type) and issubclass(loss, nn.Module):
        return loss()
    what = class_path(loss if isinstance(loss, type) else type(loss))
    raise TypeError(f"loss_func must be a torch.nn.Module, its class or its import path, got {what}")


def complete_loss_scaling(scaling: Mapping[str, float] | None, keys: Sequence[str]) -> dict[str, float]:
    """Return the weight of every target, 1.0 if ``scaling`` has none, after `check_loss_scaling`."""
    weights = dict.fromkeys(keys, 1.0) | {key: float(value) for key, value in (scaling or {}).items()}
    check_loss_scaling(weights, keys)
    return weights


def check_loss_scaling(scaling: Mapping[str, float | Tensor], keys: Collection[str]) -> None:
    """Raise an error for invalid weights. Weights that are tensors are not checked.

    Raises
    ------
    ValueError
        If a weight belongs to an unknown target, is negative or is not finite.
    """
    for key, value in scaling.items():
        if key not in keys:
            raise ValueError(
                f"task_loss_scaling has the unknown target {key!r}, expected one of {sorted(keys)}"
            )
        if isinstance(value, Tensor):
            continue  # a learned weight, reading it would wait for the device
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"task_loss_scaling[{key!r}] must be finite and not negative, got {value}")


def without_modules(loss_func: object) -> object:
    """Return ``loss_func`` without loss instances, which hyperparameters in a checkpoint cannot contain."""
    if isinstance(loss_func, Mapping):
        return {key: loss for key, loss in loss_func.items() if not isinstance(loss, nn.Module)} or None
    return None if isinstance(loss_func, nn.Module) else loss_func
