"""SAM: sharpness-aware minimization as a callback."""

import logging
import math
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mml_diagnostics._lightning import Callback, LightningModule, Trainer
from mml_diagnostics.loggers import log_scalars
from mml_diagnostics.non_finite.replay import StepBatch, random_state, set_random_state
from mml_diagnostics.unseen import unseen

logger = logging.getLogger(__name__)


def ascent_step(
    parameters: list[nn.Parameter], gradients: list[Tensor], rho: float, adaptive: bool
) -> tuple[list[Tensor], Tensor]:
    r"""Return the perturbation :math:`\rho\, g / |g|`, or :math:`\rho\, w^2 g / |w g|` for adaptive SAM.

    Foret et al. 2021, "Sharpness-Aware Minimization" (arXiv:2010.01412), equation 2, and Kwon et al. 2021,
    "ASAM" (arXiv:2102.11600), with :math:`T_w = |w|`. Norms are over all parameters together.

    Returns
    -------
    tuple
        A list with one perturbation per parameter, and the norm in the denominator.
    """
    scaled = [p.detach().abs() * g if adaptive else g for p, g in zip(parameters, gradients, strict=True)]
    norm = nn.utils.get_total_norm(scaled)
    factors = [p.detach().abs() if adaptive else 1.0 for p in parameters]
    return [rho * factor * s / norm for factor, s in zip(factors, scaled, strict=True)], norm


class SAM(Callback):
    """Compute the gradient at the nearby weights with the highest loss (sharpness-aware minimization).

    Before the optimizer steps, the weights are moved by ``rho`` along the gradient. All batches of the step
    (several if gradients are accumulated) are then run again, and the weights are restored bit for bit. The
    optimizer uses the second gradient. Clipping is applied afterwards. Under DDP both gradients are averaged
    over the ranks. If the second gradient is not finite on any rank, all ranks use the first gradient.

    The second pass has no side effects. Logged values, torchmetrics metrics, buffers (batch norm statistics)
    and attributes that ``training_step`` sets keep their values from the first pass. The second pass draws
    the same random numbers from ``on_train_batch_start`` on, so that dropout masks are the same. Afterwards
    the random state is the same as without SAM. A step costs twice as much.

    Parameters
    ----------
    rho
        Length of the perturbation.
    adaptive
        Whether to move each weight in proportion to its size (ASAM).
    skip_step_count, skip_epoch_count
        Number of optimizer steps and of epochs without SAM at the start. SAM starts when both have passed.
    logging
        Whether to log ``sam/gradient_norm`` and ``sam/steps_fallen_back`` to the trainer's loggers.
    log_level
        Log level of this module's logger.

    Attributes
    ----------
    steps_fallen_back
        Number of steps that used the first gradient because no finite second gradient was available.

    Raises
    ------
    ValueError
        If ``rho`` is not positive and finite, or a count is negative. At the start of a fit: if the module
        uses manual optimization, if the precision uses a gradient scaler (16-mixed), or if the strategy is
        FSDP.
    """

    def __init__(
        self,
        rho: float = 0.05,
        adaptive: bool = False,
        skip_step_count: int | None = None,
        skip_epoch_count: int | None = None,
        logging: bool = False,
        log_level: str = "WARNING",
    ) -> None:
        if not (math.isfinite(rho) and rho > 0):
            raise ValueError(f"rho must be positive and finite, got {rho}")
        for name, count in (("skip_step_count", skip_step_count), ("skip_epoch_count", skip_epoch_count)):
            if count is not None and count < 0:
                raise ValueError(f"{name} must be at least 0 or None, got {count}")
        super().__init__()
        self.rho = rho
        self.adaptive = adaptive
        self.skip_step_count = skip_step_count or 0
        self.skip_epoch_count = skip_epoch_count or 0
        self.logging = logging
        logger.setLevel(log_level)
        self.steps_fallen_back = 0
        self._batches: list[StepBatch] = []
        self._step = -1

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check that SAM supports the module's optimization, the precision and the strategy."""
        self._batches.clear()
        if not pl_module.automatic_optimization:
            raise ValueError("SAM requires automatic optimization, but the module uses manual optimization.")
        if getattr(trainer.precision_plugin, "scaler", None) is not None:
            raise ValueError("SAM does not support a gradient scaler (16-mixed). Use bf16-mixed or 32.")
        if type(trainer.strategy).__name__ == "FSDPStrategy":
            raise ValueError("SAM does not support FSDP, which shards the gradients. Use DDP.")

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int
    ) -> None:
        """Store the batches of the coming step."""
        if trainer.global_step != self._step:
            self._batches.clear()
        self._step = trainer.global_step
        self._batches.append(StepBatch(batch_idx, batch, random_state(pl_module.device)))

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Replace the gradients by those at the perturbed weights."""
        if trainer.global_step < self.skip_step_count or trainer.current_epoch < self.skip_epoch_count:
            return
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        first = [p.grad.detach().clone() for p in parameters if p.grad is not None]
        if not parameters:
            return
        moves, norm = ascent_step(parameters, first, self.rho, self.adaptive)
        usable = bool(norm.isfinite() & (norm > 0))  # the same on all ranks, because the gradients are
        if usable:
            usable = self._second_pass(trainer, pl_module, parameters, moves)
        if not usable:
            self.steps_fallen_back += 1
            logger.info(
                "Step %d: the second gradient is missing, so the first one is used", trainer.global_step
            )
            for parameter, gradient in zip(parameters, first, strict=True):
                parameter.grad = gradient
        if self.logging:
            scalars = {
                "sam/gradient_norm": float(norm),
                "sam/steps_fallen_back": float(self.steps_fallen_back),
            }
            log_scalars(trainer, scalars, trainer.global_step)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Release the batches at the end of their step."""
        if trainer.global_step != self._step:
            self._batches.clear()

    def state_dict(self) -> dict[str, Any]:
        """Return the number of steps that used the first gradient."""
        return {"steps_fallen_back": self.steps_fallen_back}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the number of steps that used the first gradient."""
        self.steps_fallen_back = state_dict["steps_fallen_back"]

    def _second_pass(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        parameters: list[nn.Parameter],
        moves: list[Tensor],
    ) -> bool:
        """Compute the gradients at the moved weights, and return whether all of them exist and are finite."""
        before = [p.detach().clone() for p in parameters]
        after_first = random_state(pl_module.device)
        try:
            with torch.no_grad():
                for parameter, move in zip(parameters, moves, strict=True):
                    parameter.add_(move)
                    parameter.grad = None
            with unseen(pl_module), torch.enable_grad():
                for i, one in enumerate(self._batches):
                    set_random_state(one.random_state, pl_module.device)
                    self._backward(trainer, one.batch, one.batch_idx, last=i == len(self._batches) - 1)
        finally:
            set_random_state(after_first, pl_module.device)
            with torch.no_grad():
                for parameter, value in zip(parameters, before, strict=True):
                    parameter.copy_(value)
        gradients = [p.grad for p in parameters if p.grad is not None]
        return len(gradients) == len(parameters) and bool(nn.utils.get_total_norm(gradients).isfinite())

    def _backward(self, trainer: Trainer, batch: object, batch_idx: int, last: bool) -> None:
        strategy: Any = trainer.strategy
        block = getattr(strategy, "block_backward_sync", None)
        with block() if block is not None and not last else nullcontext():
            output = strategy.training_step(batch, batch_idx)
            loss = output["loss"] if isinstance(output, dict) else output
            if loss is None:
                if trainer.world_size > 1:
                    raise ValueError(
                        f"training_step did not return a loss for batch {batch_idx}. SAM under DDP "
                        "requires one."
                    )
                return
            (loss / trainer.accumulate_grad_batches).backward()
