"""Scale learning rates with the number of devices."""

from __future__ import annotations

import logging
import math
from typing import Any, Literal, get_args

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import CombinedLoader, rank_zero_info

logger = logging.getLogger(__name__)

LrScaling = Literal["sqrt", "linear"]


def scale_lr_by_world_size(lr: float, world_size: int | None = None, rule: LrScaling = "sqrt") -> float:
    """Return the learning rate for a batch that is ``world_size`` times as large.

    Parameters
    ----------
    lr
        Learning rate that was tuned on one device.
    world_size
        Number of devices on all nodes. ``None`` reads it from ``torch.distributed``, where it is available
        only once a trainer runs; before that it is 1. In this case pass ``trainer.world_size``, or use the
        ``lr_scaling`` argument of the task.
    rule
        ``"sqrt"`` multiplies by the square root of ``world_size``, which preserves the covariance of AdamW's
        steps (Malladi et al., arXiv 2205.10287; Krizhevsky, arXiv 1404.5997, for SGD). ``"linear"``
        multiplies by ``world_size``, which preserves the mean step of SGD (Goyal et al., arXiv 1706.02677).

    Returns
    -------
    float
        The scaled learning rate.

    Raises
    ------
    ValueError
        If ``lr`` is not finite and positive, ``world_size`` is below 1, or ``rule`` is unknown.
    """
    check_lr_scaling(rule, "rule")
    if not (math.isfinite(lr) and lr > 0):
        raise ValueError(f"lr must be finite and positive, got {lr}")
    if world_size is None:
        running = torch.distributed.is_available() and torch.distributed.is_initialized()
        world_size = torch.distributed.get_world_size() if running else 1
        logger.info(
            "the learning rate is scaled for %d device(s)%s",
            world_size,
            "" if running else ", because torch.distributed is not initialized. Pass world_size for more",
        )
    if world_size < 1:
        raise ValueError(f"world_size must be at least 1, got {world_size}")
    return lr * (math.sqrt(world_size) if rule == "sqrt" else world_size)


def check_lr_scaling(rule: str | None, argument: str) -> None:
    """Raise a ValueError if ``rule`` is unknown; ``argument`` is the argument name in the message."""
    if rule not in get_args(LrScaling):
        raise ValueError(f"{argument} must be one of {list(get_args(LrScaling))}, got {rule!r}")


def log_effective_batch(module: pl.LightningModule, lr: float, rule: LrScaling) -> None:
    """Log the scaled learning rate and the effective batch size when training starts.

    ``lr/scaled`` and ``effective_batch_size`` (structures per optimizer step, on all devices) are logged as
    metrics.
    """
    trainer = module.trainer
    scaled = scale_lr_by_world_size(lr, trainer.world_size, rule)
    metrics = {"lr/scaled": scaled}
    loaders = CombinedLoader(trainer.train_dataloader).flattened
    sizes: list[Any] = [getattr(loader, "batch_size", None) for loader in loaders]
    text = "an unknown number of structures, because the loader has no batch_size"
    if all(size is not None for size in sizes):
        total = sum(sizes) * trainer.world_size * trainer.accumulate_grad_batches
        metrics["effective_batch_size"] = float(total)
        text = (
            f"{total} structures ({sum(sizes)} on each of {trainer.world_size} device(s), "
            f"{trainer.accumulate_grad_batches} batch(es) per step)"
        )
    rank_zero_info(
        f"learning rate {lr:g} is scaled to {scaled:g} by the rule {rule!r}; an optimizer step uses {text}"
    )
    module.log_dict(metrics, on_step=False, on_epoch=True)
