"""Loss weights that are learned together with the model, as the uncertainty of each target."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from mml_tasks.weights.loss_weights import LossWeightCallback, log_weights, logs_at
from mml_tasks.weights.progress import step_index


class UncertaintyLoss(nn.Module):
    """Sum of losses, each divided by a learned variance, plus half the logarithm of the variance.

    With the log variance ``s[k]``, the loss of target k contributes ``exp(-s[k]) / 2 * loss[k] + s[k] / 2``
    if it is a squared error, and ``exp(-s[k]) * loss[k] + s[k] / 2`` if it is a cross entropy (Kendall, Gal
    and Cipolla, "Multi-task learning using uncertainty to weigh losses", CVPR 2018, equations 7 and 10). At
    the minimum, the variance of a target equals its mean squared error. The sum may be negative.

    Parameters
    ----------
    keys
        The targets.
    classification_keys
        Subset of ``keys`` whose loss is a cross entropy.
    initial_log_variance
        Initial value of each ``s[k]``.

    Raises
    ------
    ValueError
        If ``keys`` is empty or contains a target twice, ``classification_keys`` contains a target that is not
        in ``keys``, or ``initial_log_variance`` is not finite.
    """

    def __init__(
        self,
        keys: Sequence[str],
        classification_keys: Sequence[str] = (),
        initial_log_variance: float = 0.0,
    ) -> None:
        super().__init__()
        if not keys or len(set(keys)) != len(keys):
            raise ValueError(f"keys must be a nonempty list of unique targets, got {list(keys)}")
        unknown = sorted(set(classification_keys) - set(keys))
        if unknown:
            raise ValueError(
                f"classification_keys has unknown targets {unknown}, expected some of {sorted(keys)}"
            )
        if not math.isfinite(initial_log_variance):
            raise ValueError(f"initial_log_variance must be finite, got {initial_log_variance}")
        self.keys = list(keys)
        self.factors = {key: 1.0 if key in classification_keys else 0.5 for key in keys}
        self.log_variances = nn.Parameter(torch.full((len(keys),), float(initial_log_variance)))

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum of scalar losses by target; losses of other targets are added unchanged.

        A target without a loss contributes nothing, and its variance is not updated.
        """
        total = self.log_variances.sum() * 0.0  # gives every rank a gradient
        for i, key in enumerate(self.keys):
            if key in losses:
                s = self.log_variances[i]
                total = total + self.factors[key] * torch.exp(-s) * losses[key] + 0.5 * s
        others = [loss for key, loss in losses.items() if key not in self.factors]
        return torch.stack([total, *others]).sum()

    def weights(self) -> dict[str, float]:
        """Return the factor of each target's loss; waits for the device."""
        variances = self.log_variances.detach().float().exp().tolist()
        return {key: self.factors[key] / variance for key, variance in zip(self.keys, variances, strict=True)}


class _AttachedLoss(UncertaintyLoss):
    """Loss that is trained with the module but excluded from its state dict.

    The module can therefore be loaded without the callback, for prediction.
    """

    def _save_to_state_dict(self, *args: object, **kwargs: object) -> None:
        pass

    def _load_from_state_dict(self, *args: object, **kwargs: object) -> None:
        pass


class UncertaintyWeighting(LossWeightCallback):
    """Learn the weights of targets' losses together with the model, with an `UncertaintyLoss`.

    During a fit, the log variances are parameters of the module: its ``configure_optimizers`` passes them to
    the optimizer, the strategy synchronizes them across ranks, and checkpoints store them in the state of
    this callback. They are trained with the module's learning rate. Weight decay pulls them towards 0, which
    corresponds to a weight of one half for a squared error. ``task_loss_scaling`` is applied in addition, and
    is not changed. The weights are logged as ``loss_scaling/<key>``.

    In addition to ``task_loss_scaling``, the module must have an attribute ``loss_weighting``. It is None, or
    a callable that maps the dict of scaled losses to the number that ``training_step`` returns instead of
    their sum. To use the method without a callback, assign an `UncertaintyLoss` to an attribute of a module.

    Parameters
    ----------
    keys
        The targets. They must be given explicitly, because the parameters are created before the module reads
        its data.
    classification_keys, initial_log_variance
        See `UncertaintyLoss`.

    Raises
    ------
    TypeError
        At setup, if the module lacks ``task_loss_scaling`` or ``loss_weighting``.
    ValueError
        As for `UncertaintyLoss`; at setup, if the module lacks a target or already has a ``loss_weighting``;
        when the fit starts, if no optimizer contains the log variances.
    """

    def __init__(
        self,
        keys: Sequence[str],
        classification_keys: Sequence[str] = (),
        initial_log_variance: float = 0.0,
    ) -> None:
        super().__init__(keys)
        self.classification_keys = list(classification_keys)
        self.initial_log_variance = initial_log_variance
        self.loss = _AttachedLoss(keys, classification_keys, initial_log_variance)
        self._last_step = -1

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Add the parameters to the module, before optimizers are created."""
        super().setup(trainer, pl_module, stage)
        if stage != "fit":
            return
        if not hasattr(pl_module, "loss_weighting"):
            raise TypeError(
                f"UncertaintyWeighting replaces the sum of losses, but {type(pl_module).__name__} has no "
                "attribute loss_weighting. Set self.loss_weighting = None in its constructor, and return "
                "self.loss_weighting(losses) from training_step if it is not None"
            )
        if pl_module.loss_weighting not in (None, self.loss):
            raise ValueError(
                f"{type(pl_module).__name__} already has a loss_weighting. Remove UncertaintyWeighting"
            )
        pl_module.loss_weighting = self.loss

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Raise an error if no optimizer of the module contains the parameters."""
        super().on_fit_start(trainer, pl_module)
        groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
        if not any(self.loss.log_variances is parameter for group in groups for parameter in group["params"]):
            raise ValueError(
                "no optimizer contains the log variances of UncertaintyWeighting. Pass self.parameters() to "
                f"the optimizer in configure_optimizers of {type(pl_module).__name__}"
            )

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: object, batch_idx: int
    ) -> None:
        """Log the weights."""
        step = step_index(trainer)
        if step != self._last_step and logs_at(trainer, step):
            log_weights(trainer, self.loss.weights(), step)
        self._last_step = step

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Remove the parameters from the module."""
        if stage == "fit":
            pl_module.loss_weighting = None  # type: ignore[assignment]

    def state_dict(self) -> dict[str, object]:
        """Return the log variance of each target."""
        return {"log_variances": dict(zip(self.loss.keys, self.loss.log_variances.tolist(), strict=True))}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the log variances from a checkpoint.

        Raises
        ------
        ValueError
            If the checkpoint has log variances of other targets.
        """
        stored = state_dict["log_variances"]
        if set(stored) != set(self.loss.keys):
            raise ValueError(
                f"the checkpoint has log variances of {sorted(stored)}, but UncertaintyWeighting has the "
                f"targets {sorted(self.loss.keys)}. Resume with the same targets"
            )
        with torch.no_grad():
            values = [stored[key] for key in self.loss.keys]
            self.loss.log_variances.copy_(self.loss.log_variances.new_tensor(values))
