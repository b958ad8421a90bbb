"""Change loss weights during training: forces first, energies at the end, and a custom schedule.

uv run python examples/loss_schedules.py
"""

from __future__ import annotations

import math
from typing import Any

import pytorch_lightning as pl
from mml_data import MatSciMLDataModule
from mml_graphs import PeriodicPropertiesTransform, PointCloudToGraphTransform
from mml_models import SchNet
from mml_tasks import BaseScalingSchedule, ForceRegressionTask, LinearScalingSchedule, LossScalingScheduler


class Waves(BaseScalingSchedule):
    """Weight that oscillates between its two ends for `periods` + 1/2 periods."""

    def __init__(self, key: str, initial_value: float, end_value: float, periods: int = 1) -> None:
        super().__init__(key, initial_value, end_value, step_frequency="step")
        self.periods = periods

    def value_between(self, fraction: float) -> float:
        """Return the weight at a fraction of the run."""
        swing = (1 - math.cos(math.pi * (2 * self.periods + 1) * fraction)) / 2
        return self.initial_value + swing * (self.end_value - self.initial_value)


class Show(pl.Callback):
    """Prints the weights of some steps."""

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Print the weights before the step."""
        if batch_idx % 4 == 0 or batch_idx == 12:
            weights = ", ".join(f"{name} {value:.2f}" for name, value in pl_module.task_loss_scaling.items())
            print(f"step {trainer.global_step:2d}: {weights}")


def main() -> None:
    """Train for 13 steps."""
    pl.seed_everything(0, verbose=False)
    data = MatSciMLDataModule.from_devset(
        "emt",
        batch_size=8,
        transforms=[
            PeriodicPropertiesTransform(4.0, adaptive_cutoff=True),
            PointCloudToGraphTransform("pyg"),
        ],
    )
    task = ForceRegressionTask(
        SchNet(hidden_dim=16, output_dim=16, num_conv=1, cutoff=4.0),
        task_loss_scaling={"energy": 1.0, "force": 10.0},
    )
    scheduler = LossScalingScheduler(
        LinearScalingSchedule("energy", initial_value=1.0, end_value=10.0, step_frequency="step"),
        Waves("force", initial_value=10.0, end_value=1.0),
    )
    trainer = pl.Trainer(
        max_epochs=1,
        limit_train_batches=13,
        limit_val_batches=0,
        callbacks=[scheduler, Show()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(task, datamodule=data)


if __name__ == "__main__":
    main()
