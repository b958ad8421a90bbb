"""config.yaml of a run."""

from __future__ import annotations

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.cli import SaveConfigCallback


class SaveConfigAtStart(SaveConfigCallback):
    """Writes config.yaml when the work starts, not while it is set up: a refused run leaves nothing."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Wait: targets and data are still being checked."""

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write before the first batch."""
        self._save(trainer, pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write before the first batch."""
        self._save(trainer, pl_module)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write before the first batch."""
        self._save(trainer, pl_module)

    on_validation_start = on_test_start
    on_predict_start = on_test_start

    def _save(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().setup(trainer, pl_module, "")
