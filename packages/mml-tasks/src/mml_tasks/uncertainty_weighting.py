"""Loss weights that are learned with the model, as the uncertainty of each target."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from mml_tasks.loss_weights import LossWeightCallback, log_weights, logs_at
from mml_tasks.progress import step_index


class UncertaintyLoss(nn.Module):
    """Sum of losses, each divided by a learned variance, plus half the variance's logarithm.

    The loss of target k with the log variance ``s[k]`` contributes ``exp(-s[k]) / 2 * loss[k] + s[k] / 2``
    where it is a squared error, and ``exp(-s[k]) * loss[k] + s[k] / 2`` where it is a cross entropy (Kendall,
    Gal and Cipolla, "Multi-task learning using uncertainty to weigh losses", CVPR 2018, equations 7 and 10).
    At the minimum, the variance of a target is its mean squared error. The sum may be negative.

    Parameters
    ----------
    keys
        The targets.
    classification_keys
        Those of them whose loss is a cross entropy.
    initial_log_variance
        Where each ``s[k]`` starts.

    Raises
    ------
    ValueError
        If there are no keys, one comes twice, or a number is not finite.
    """

    def __init__(
        self,
        keys: Sequence[str],
        classification_keys: Sequence[str] = (),
        initial_log_variance: float = 0.0,
    ) -> None:
        super().__init__()
        if not keys or len(set(keys)) != len(keys):
            raise ValueError(f"uncertainty weighting needs the names of targets, each once, got {list(keys)}")
        unknown = sorted(set(classification_keys) - set(keys))
        if unknown:
            raise ValueError(f"classification_keys has {unknown}, which are not among keys {sorted(keys)}")
        if not math.isfinite(initial_log_variance):
            raise ValueError(f"initial_log_variance must be finite, got {initial_log_variance}")
        self.keys = list(keys)
        self.factors = {key: 1.0 if key in classification_keys else 0.5 for key in keys}
        self.log_variances = nn.Parameter(torch.full((len(keys),), float(initial_log_variance)))

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the sum for losses by target, each a scalar; those of other targets are added as they are.

        A target whose loss is missing contributes nothing, and its variance learns nothing.
        """
        total = self.log_variances.sum() * 0.0  # so that all ranks have a gradient of it
        for i, key in enumerate(self.keys):
            if key in losses:
                s = self.log_variances[i]
                total = total + self.factors[key] * torch.exp(-s) * losses[key] + 0.5 * s
        others = [loss for key, loss in losses.items() if key not in self.factors]
        return torch.stack([total, *others]).sum()

    def weights(self) -> dict[str, float]:
        """Return what each target's loss is multiplied by; waits for the device."""
        variances = self.log_variances.detach().float().exp().tolist()
        return {key: self.factors[key] / variance for key, variance in zip(self.keys, variances, strict=True)}


class _AttachedLoss(UncertaintyLoss):
    """Trained with the module, but not in its state: that loads without the callback, to predict."""

    def _save_to_state_dict(self, *args: Any, **kwargs: Any) -> None:
        pass

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        pass


class UncertaintyWeighting(LossWeightCallback):
    """Learn the weights of targets' losses with the model, by an `UncertaintyLoss`.

    The log variances are parameters of the module while it is fitted: its ``configure_optimizers`` gives them
    to the optimizer, a strategy keeps them the same on every rank, and a checkpoint holds them in this
    callback's state. They learn with the module's learning rate; weight decay draws them to 0, which weighs a
    squared error by one half. ``task_loss_scaling`` is multiplied on top, and not changed. The weights are
    logged as ``loss_scaling/<key>``.

    The module must have, beside ``task_loss_scaling``, an attribute ``loss_weighting``: None, or what maps
    its dict of scaled losses to the number that ``training_step`` returns, in place of their sum. To use the
    method without a callback, let a module own an `UncertaintyLoss`.

    Parameters
    ----------
    keys
        The targets. They must be named, since parameters are made before a module may look at its data.
    classification_keys, initial_log_variance
        See `UncertaintyLoss`.

    Raises
    ------
    TypeError
        At setup, if the module lacks ``task_loss_scaling`` or ``loss_weighting``.
    ValueError
        As `UncertaintyLoss`; at setup, if the module lacks a target, has its own ``loss_weighting``, or does
        not give all its parameters to an optimizer.
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
        """Give the module the parameters, before optimizers are made."""
        super().setup(trainer, pl_module, stage)
        if stage != "fit":
            return
        if not hasattr(pl_module, "loss_weighting"):
            raise TypeError(
                f"UncertaintyWeighting replaces the sum of losses, and {type(pl_module).__name__} has no "
                "loss_weighting: set self.loss_weighting = None when it is made, and where it is not None "
                "let training_step return self.loss_weighting(losses)"
            )
        if pl_module.loss_weighting not in (None, self.loss):
            raise ValueError(
                f"{type(pl_module).__name__} has a loss_weighting already: leave out UncertaintyWeighting"
            )
        pl_module.loss_weighting = self.loss

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refuse a module that does not train the parameters."""
        super().on_fit_start(trainer, pl_module)
        groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
        if not any(self.loss.log_variances is parameter for group in groups for parameter in group["params"]):
            raise ValueError(
                "no optimizer has the log variances of UncertaintyWeighting: let configure_optimizers of "
                f"{type(pl_module).__name__} give it self.parameters()"
            )

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Log the weights."""
        step = step_index(trainer)
        if step != self._last_step and logs_at(trainer, step):
            log_weights(trainer, self.loss.weights(), step)
        self._last_step = step

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Take the parameters from the module."""
        if stage == "fit":
            pl_module.loss_weighting = None  # type: ignore[assignment]

    def state_dict(self) -> dict[str, Any]:
        """Return the log variance of each target."""
        return {"log_variances": dict(zip(self.loss.keys, self.loss.log_variances.tolist(), strict=True))}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the log variances from a checkpoint.

        Raises
        ------
        ValueError
            If they are of other targets.
        """
        stored = state_dict["log_variances"]
        if set(stored) != set(self.loss.keys):
            raise ValueError(
                f"UncertaintyWeighting was stopped with {sorted(stored)}, and goes on with "
                f"{sorted(self.loss.keys)}: resume with the same targets"
            )
        with torch.no_grad():
            values = [stored[key] for key in self.loss.keys]
            self.loss.log_variances.copy_(self.loss.log_variances.new_tensor(values))
