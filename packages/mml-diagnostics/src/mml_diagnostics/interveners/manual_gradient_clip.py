"""ManualGradientClip: a callback that clips the gradients of all parameters of an optimizer together."""

import logging
import math
from typing import Any

from torch import nn
from torch.optim import Optimizer

from mml_diagnostics._lightning import Callback, LightningModule, Trainer

logger = logging.getLogger(__name__)


class ManualGradientClip(Callback):
    """Clip the gradients of each optimizer before it steps, by their total norm or by value.

    This is the same as ``Trainer(gradient_clip_val=...)``, but at a position among the callbacks that you
    choose: it clips the gradients as the preceding callbacks left them. Under DDP the gradients are the same
    on all ranks, and so are the clipped gradients.

    Parameters
    ----------
    value
        Maximum norm, or maximum absolute value of an element.
    algorithm
        ``"norm"`` or ``"value"``.
    verbose
        Whether to log the norm at each step (level INFO). This reads one number from the device.
    **kwargs
        Further arguments of ``torch.nn.utils.clip_grad_norm_`` or ``clip_grad_value_``, e.g. ``norm_type``.

    Raises
    ------
    ValueError
        If ``value`` is not positive and finite, or ``algorithm`` is unknown. At the start of a fit, if the
        strategy is FSDP, which shards the gradients.
    """

    def __init__(self, value: float, algorithm: str = "norm", verbose: bool = False, **kwargs: Any) -> None:
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"value must be positive and finite, got {value}")
        if algorithm not in ("norm", "value"):
            raise ValueError(f'algorithm must be "norm" or "value", got {algorithm!r}')
        super().__init__()
        self.value = value
        self.algorithm = algorithm
        self.verbose = verbose
        self.kwargs = kwargs

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Raise ``ValueError`` for FSDP, whose gradients would be clipped shard by shard."""
        if stage == "fit" and type(trainer.strategy).__name__ == "FSDPStrategy":
            raise ValueError("ManualGradientClip does not support FSDP. Use Trainer(gradient_clip_val=...).")

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Clip the gradients of ``optimizer``."""
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if self.algorithm == "value":
            nn.utils.clip_grad_value_(parameters, self.value, **self.kwargs)
            return
        norm = nn.utils.clip_grad_norm_(parameters, self.value, **self.kwargs)
        if self.verbose and trainer.is_global_zero:
            logger.info("Step %d: gradient norm %.4g, clipped to %g", trainer.global_step, norm, self.value)
