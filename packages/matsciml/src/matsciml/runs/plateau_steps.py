"""Complete the step of `ReduceLROnPlateau` that checkpoints at the end of an epoch do not contain."""

from __future__ import annotations

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities.types import LRSchedulerConfig


class PlateauSteps(Callback):
    """Callback that performs the missed step of ``ReduceLROnPlateau`` if a run continues between epochs.

    Lightning writes the checkpoints of an epoch before this step, and does not perform the step when the run
    continues. This callback saves the monitored value in the checkpoint and performs the step before the
    first batch.

    The callback must precede callbacks that save at the start of an epoch.
    """

    def __init__(self) -> None:
        self._trainer: Trainer | None = None
        self._due = False
        self._loaded: dict[str, Any] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Store the trainer, which provides the schedulers."""
        self._trainer, self._due = trainer, False

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record that the step is due."""
        self._due = True

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record that the step has been performed."""
        self._due = False

    on_train_end = on_train_epoch_start

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Perform the step that the checkpoint does not contain."""
        for config in _plateaus(trainer):
            if config.monitor in self._loaded and trainer.current_epoch % config.frequency == 0:
                pl_module.lr_scheduler_step(config.scheduler, self._loaded[config.monitor])
        self._loaded = {}

    def state_dict(self) -> dict[str, Any]:
        """Return the monitored values if the step is due."""
        trainer = self._trainer
        if trainer is None or not self._due:
            return {}
        values = trainer.callback_metrics
        monitored = {each.monitor for each in _plateaus(trainer) if each.monitor} & values.keys()
        return {"monitored": {name: values[name].detach().cpu() for name in sorted(monitored)}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Store the values until training starts."""
        self._loaded = state_dict["monitored"]


def _plateaus(trainer: Trainer) -> list[LRSchedulerConfig]:
    return [c for c in trainer.lr_scheduler_configs if c.reduce_on_plateau and c.interval == "epoch"]
