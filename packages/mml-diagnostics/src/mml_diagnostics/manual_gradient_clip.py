"""ManualGradientClip: clip gradients by a callback, over all parameters of an optimizer together."""

import logging
import math
from typing import Any

from torch import nn
from torch.optim import Optimizer

from mml_diagnostics._lightning import Callback, LightningModule, Trainer

logger = logging.getLogger(__name__)


class ManualGradientClip(Callback):
    """Clip the gradients of each optimizer before it steps: their norm as a whole, or each element.

    Like ``Trainer(gradient_clip_val=...)``, at a place among the callbacks that you choose: it sees what
    those before it left. Under DDP gradients are the same on all ranks, and so is what is clipped.

    Parameters
    ----------
    value
        The largest norm, or the largest absolute value of an element.
    algorithm
        ``"norm"`` or ``"value"``.
    verbose
        Log (level INFO) the norm at each step; reads a number from the device.
    **kwargs
        To ``torch.nn.utils.clip_grad_norm_`` or ``clip_grad_value_``, e.g. ``norm_type``.

    Raises
    ------
    ValueError
        For a ``value`` that is not positive and finite or another ``algorithm``; when a fit starts, for FSDP,
        whose gradients are in shards.
    """

    def __init__(self, value: float, algorithm: str = "norm", verbose: bool = False, **kwargs: Any) -> None:
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"value is {value}; give a positive finite number to clip to.")
        if algorithm not in ("norm", "value"):
            raise ValueError(f'algorithm is "{algorithm}"; give "norm" or "value".')
        super().__init__()
        self.value = value
        self.algorithm = algorithm
        self.verbose = verbose
        self.kwargs = kwargs

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse what would be clipped shard by shard."""
        if stage == "fit" and type(trainer.strategy).__name__ == "FSDPStrategy":
            raise ValueError("ManualGradientClip clips no FSDP shards; use Trainer(gradient_clip_val=...).")

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Clip."""
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if self.algorithm == "value":
            nn.utils.clip_grad_value_(parameters, self.value, **self.kwargs)
            return
        norm = nn.utils.clip_grad_norm_(parameters, self.value, **self.kwargs)
        if self.verbose and trainer.is_global_zero:
            logger.info("step %d: gradient norm %.4g, clipped to %g", trainer.global_step, norm, self.value)
