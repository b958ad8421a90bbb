"""Base class of callbacks that set loss weights, and functions to read and log these weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback


class LossWeightCallback(Callback):
    """Base class of callbacks that set entries of ``task_loss_scaling``, a dict from target to weight.

    Parameters
    ----------
    keys
        Targets whose weights the callback sets; None for all targets of the module.
    """

    def __init__(self, keys: Sequence[str] | None) -> None:
        self.keys = None if keys is None else list(keys)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Raise an error if the module lacks ``task_loss_scaling``, or a target of this callback."""
        if stage != "fit":
            return
        if not isinstance(getattr(pl_module, "task_loss_scaling", None), dict):
            raise TypeError(
                f"{type(self).__name__} sets loss weights, but {type(pl_module).__name__} has no dict "
                "task_loss_scaling. Add one, and multiply each target's loss by its entry in training_step"
            )
        # A callback's setup runs before the module's, which may still have to infer targets from the data.
        if weights_of(pl_module) and getattr(pl_module, "task_keys", ()) is not None:
            self._check_keys(pl_module)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Raise an error for targets that the module lacks, or whose weight another callback sets."""
        self._check_keys(pl_module)
        for other in trainer.callbacks:  # type: ignore[attr-defined]
            if other is not self and isinstance(other, LossWeightCallback):
                shared = set(self.keys_of(pl_module)) & set(other.keys_of(pl_module))
                if shared:
                    raise ValueError(
                        f"both {type(self).__name__} and {type(other).__name__} set the loss weights of "
                        f"{sorted(shared)}. Use one callback for each target"
                    )

    def final_weights(self) -> dict[str, float]:
        """Return the weights at the end of the run by target, as far as they are known in advance."""
        return {}

    def keys_of(self, pl_module: pl.LightningModule) -> list[str]:
        """Return the targets of the module whose weights this callback sets."""
        return list(weights_of(pl_module)) if self.keys is None else self.keys

    def _check_keys(self, pl_module: pl.LightningModule) -> None:
        known = weights_of(pl_module)
        unknown = [key for key in self.keys or [] if key not in known]
        if unknown:
            raise ValueError(
                f"{type(self).__name__} has weights for {unknown}, which are not targets of "
                f"{type(pl_module).__name__}, expected some of {sorted(known)}"
            )


def weights_of(pl_module: pl.LightningModule) -> dict[str, float]:
    """Return the live loss weights of a module."""
    weights: dict[str, float] = pl_module.task_loss_scaling  # type: ignore[assignment]
    return weights


def final_weights(pl_module: pl.LightningModule) -> dict[str, float]:
    """Return the loss weights with which losses are compared across epochs.

    These are the final weights of schedules, and the current weights of the module for all other targets.
    """
    weights = {key: float(value) for key, value in weights_of(pl_module).items()}
    for callback in pl_module.trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, LossWeightCallback):
            weights |= {key: value for key, value in callback.final_weights().items() if key in weights}
    return weights


def logs_at(trainer: pl.Trainer, step: int) -> bool:
    """Return whether the metrics of a step are sent to the loggers."""
    every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
    return bool(trainer.loggers) and every > 0 and (step + 1) % every == 0


def log_weights(trainer: pl.Trainer, weights: Mapping[str, float], step: int) -> None:
    """Log ``loss_scaling/<key>`` with every logger of the trainer."""
    for logger in trainer.loggers:
        logger.log_metrics({f"loss_scaling/{key}": value for key, value in weights.items()}, step=step)
