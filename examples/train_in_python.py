"""Train in Python instead of on the command line, with the same components.

    uv run python examples/train_in_python.py

This takes half a minute on two cores.
"""

from __future__ import annotations

import pytorch_lightning as pl
from mml_data import MatSciMLDataModule
from mml_diagnostics import GradientCheckCallback, TrainingHelperCallback
from mml_graphs import PeriodicPropertiesTransform, PointCloudToGraphTransform
from mml_models import EGNN
from mml_tasks import ForceRegressionTask


def main() -> None:
    """Train on the embedded data set for a few steps, and print the validation errors."""
    pl.seed_everything(0, verbose=False)
    data = MatSciMLDataModule.from_devset(
        "emt",
        batch_size=16,
        transforms=[
            PeriodicPropertiesTransform(4.0, adaptive_cutoff=True),
            PointCloudToGraphTransform("pyg"),
        ],
    )
    task = ForceRegressionTask(
        EGNN(hidden_dim=32, output_dim=32, num_conv=2, cutoff=4.0),
        normalize_kwargs="auto",
        task_loss_scaling={"energy": 1.0, "force": 10.0},
        lr=3e-3,
    )
    trainer = pl.Trainer(
        max_epochs=1,
        limit_train_batches=40,
        limit_val_batches=5,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[GradientCheckCallback(), TrainingHelperCallback()],
    )
    trainer.fit(task, datamodule=data)
    for name in ("val_energy_per_atom_mae", "val_force_mae"):
        print(f"{name}: {float(trainer.callback_metrics[name]):.4f}")


if __name__ == "__main__":
    main()
