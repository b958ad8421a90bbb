"""Loss functions of a task's targets, and their weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeAlias

from torch import Tensor, nn

from mml_tasks.hyperparameters import class_path, import_class

LossLike: TypeAlias = str | type[nn.Module] | nn.Module

LOSS_MODULES = ("AtomWeightedL1", "AtomWeightedMSE", "ConditionalHuberLoss", "L2NormLoss")
"""Losses of this package that can be made without arguments, so that their bare names will do."""


def make_losses(
    loss_func: LossLike | Mapping[str, LossLike] | None, keys: Sequence[str], default: type[nn.Module]
) -> nn.ModuleDict:
    """Build one loss module for each target.

    Parameters
    ----------
    loss_func
        A module, its class or its class path (bare names are those of this package's losses or are looked up
        in ``torch.nn``) for all targets, or a dict of these by target.
    keys
        The targets.
    default
        Class of the loss of the targets that ``loss_func`` does not name.

    Raises
    ------
    ValueError
        If ``loss_func`` names a target that is not among ``keys``, or a loss has ``reduction="none"``.
    TypeError
        If something given is no loss.
    """
    if isinstance(loss_func, Mapping):
        unknown = sorted(set(loss_func) - set(keys))
        if unknown:
            raise ValueError(f"loss_func has losses for unknown targets {unknown}; known are {sorted(keys)}")
        given: dict[str, Any] = dict(loss_func)
    else:
        given = dict.fromkeys(keys, loss_func) if loss_func is not None else {}
    losses = {key: _make_loss(given.get(key, default)) for key in keys}
    for key, loss in losses.items():
        if getattr(loss, "reduction", None) == "none":
            raise ValueError(
                f'the loss of target {key!r} has reduction="none", but a loss must be one number: give '
                'reduction="mean", which is evaluated element by element anyway'
            )
    return nn.ModuleDict(losses)


def _make_loss(loss: Any) -> nn.Module:
    if isinstance(loss, nn.Module):
        return copy.deepcopy(loss)
    if isinstance(loss, str):
        own = loss in LOSS_MODULES
        loss = import_class(
            loss, "loss_func", nn.Module, default_module="mml_tasks.loss_modules" if own else "torch.nn"
        )
    if isinstance(loss, type) and issubclass(loss, nn.Module):
        return loss()
    what = class_path(loss if isinstance(loss, type) else type(loss))
    raise TypeError(f"loss_func must be a torch.nn.Module, its class or its class path, got {what}")


def complete_loss_scaling(scaling: Mapping[str, float] | None, keys: Sequence[str]) -> dict[str, float]:
    """Return the weight of every target, 1.0 where ``scaling`` gives none; raises as `check_loss_scaling`."""
    weights = dict.fromkeys(keys, 1.0) | {key: float(value) for key, value in (scaling or {}).items()}
    check_loss_scaling(weights, keys)
    return weights


def check_loss_scaling(scaling: Mapping[str, Any], keys: Collection[str]) -> None:
    """Refuse weights that would make the loss meaningless; weights that are tensors are trusted.

    Raises
    ------
    ValueError
        If a weight is for a target that is not there, or is negative or not finite.
    """
    for key, value in scaling.items():
        if key not in keys:
            raise ValueError(f"task_loss_scaling has the unknown target {key!r}; known are {sorted(keys)}")
        if isinstance(value, Tensor):
            continue  # one that is learned: looking at it would wait for the device
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"task_loss_scaling[{key!r}] must be finite and not negative, got {value}")


def without_modules(loss_func: Any) -> Any:
    """Drop loss instances, which a checkpoint's hyperparameters cannot hold."""
    if isinstance(loss_func, Mapping):
        return {key: loss for key, loss in loss_func.items() if not isinstance(loss, nn.Module)} or None
    return None if isinstance(loss_func, nn.Module) else loss_func
