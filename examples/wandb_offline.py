"""Log to Weights & Biases without a network. `wandb sync` uploads the folder later.

uv run python examples/wandb_offline.py
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytorch_lightning as pl
from mml_data import MatSciMLDataModule
from mml_diagnostics import GradientCheckCallback, ModelAutocorrelation, TrainingHelperCallback
from mml_graphs import PeriodicPropertiesTransform, PointCloudToGraphTransform
from mml_models import SchNet
from mml_tasks import ForceRegressionTask
from pytorch_lightning.loggers import WandbLogger


def main() -> None:
    """Train for a few steps, and print the folder of the run."""
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
        SchNet(hidden_dim=16, output_dim=16, num_conv=1, cutoff=4.0), normalize_kwargs="auto"
    )
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("WANDB_SILENT", "true")
        logger = WandbLogger(project="alloys", save_dir=folder, offline=True)
        trainer = pl.Trainer(
            max_epochs=1,
            limit_train_batches=12,
            limit_val_batches=1,
            log_every_n_steps=5,
            logger=logger,
            callbacks=[
                GradientCheckCallback(),
                TrainingHelperCallback(update_freq=5),  # histograms of gradients, weights and embeddings
                ModelAutocorrelation(buffer_size=10, analyze_every_n_steps=5),
            ],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(task, datamodule=data)
        logger.experiment.finish()
        (run,) = Path(folder).glob("wandb/offline-run-*/*.wandb")
        print(
            f"{run.name} has {run.stat().st_size / 1000:.0f} kB. Upload it with: wandb sync {run.parent.name}"
        )


if __name__ == "__main__":
    main()
