"""What callbacks that set loss weights share: which targets there are, who sets which, what is logged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback


class LossWeightCallback(Callback):
    """A callback that sets entries of a module's ``task_loss_scaling``, a dict of target to weight.

    Parameters
    ----------
    keys
        The targets whose weight it sets; None for all that the module has.
    """

    def __init__(self, keys: Sequence[str] | None) -> None:
        self.keys = None if keys is None else list(keys)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Refuse a module without ``task_loss_scaling``, or without a target that is set here."""
        if stage != "fit":
            return
        if not isinstance(getattr(pl_module, "task_loss_scaling", None), dict):
            raise TypeError(
                f"{type(self).__name__} sets loss weights, and {type(pl_module).__name__} has none: give it "
                "a dict task_loss_scaling that its training_step multiplies each target's loss by"
            )
        # A callback's setup comes before the module's, which may have to look at the data for its targets.
        if weights_of(pl_module) and getattr(pl_module, "task_keys", ()) is not None:
            self._check_keys(pl_module)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refuse targets that the module does not have, and those that another callback sets."""
        self._check_keys(pl_module)
        for other in trainer.callbacks:  # type: ignore[attr-defined]
            if other is not self and isinstance(other, LossWeightCallback):
                shared = set(self.keys_of(pl_module)) & set(other.keys_of(pl_module))
                if shared:
                    raise ValueError(
                        f"both {type(self).__name__} and {type(other).__name__} set the loss weights of "
                        f"{sorted(shared)}: leave each to one callback"
                    )

    def final_weights(self) -> dict[str, float]:
        """Return the weights that this callback is going to end with, by target, if they are known."""
        return {}

    def keys_of(self, pl_module: pl.LightningModule) -> list[str]:
        """Return the targets of the module whose weight is set here."""
        return list(weights_of(pl_module)) if self.keys is None else self.keys

    def _check_keys(self, pl_module: pl.LightningModule) -> None:
        known = weights_of(pl_module)
        unknown = [key for key in self.keys or [] if key not in known]
        if unknown:
            raise ValueError(
                f"{type(self).__name__} has weights for {unknown}, which {type(pl_module).__name__} does not "
                f"learn; its targets are {sorted(known)}"
            )


def weights_of(pl_module: pl.LightningModule) -> dict[str, Any]:
    """Return the live weights of a module."""
    weights: dict[str, Any] = pl_module.task_loss_scaling  # type: ignore[assignment]
    return weights


def final_weights(pl_module: pl.LightningModule) -> dict[str, float]:
    """Return the weights of the losses that are compared across epochs.

    They are those that schedules end with, and for the other targets those that the module has now.
    """
    weights = {key: float(value) for key, value in weights_of(pl_module).items()}
    for callback in pl_module.trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, LossWeightCallback):
            weights |= {key: value for key, value in callback.final_weights().items() if key in weights}
    return weights


def logs_at(trainer: pl.Trainer, step: int) -> bool:
    """Whether the metrics of a step go to the loggers."""
    every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
    return bool(trainer.loggers) and every > 0 and (step + 1) % every == 0


def log_weights(trainer: pl.Trainer, weights: Mapping[str, float], step: int) -> None:
    """Log ``loss_scaling/<key>`` with every logger there is."""
    for logger in trainer.loggers:
        logger.log_metrics({f"loss_scaling/{key}": value for key, value in weights.items()}, step=step)
