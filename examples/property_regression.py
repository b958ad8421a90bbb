"""Learn the density and the volume per atom of crystals, and predict one of them.

uv run python examples/property_regression.py
"""

from __future__ import annotations

import pytorch_lightning as pl
from mml_data import MatSciMLDataModule
from mml_graphs import PeriodicPropertiesTransform, PointCloudToGraphTransform
from mml_models import SchNet
from mml_tasks import ScalarRegressionTask


def main() -> None:
    """Train for a few steps, and print the validation errors and a prediction."""
    pl.seed_everything(0, verbose=False)
    data = MatSciMLDataModule.from_devset(
        "prototypes",
        batch_size=16,
        transforms=[
            PeriodicPropertiesTransform(5.0, adaptive_cutoff=True),
            PointCloudToGraphTransform("pyg"),
        ],
    )
    task = ScalarRegressionTask(
        # Both targets are intensive: the embedding of a structure is the mean of its atoms.
        SchNet(hidden_dim=32, output_dim=32, num_conv=2, cutoff=5.0, reduction="mean"),
        task_keys=["density", "volume_per_atom"],
        normalize_kwargs="auto",
        lr=3e-3,
    )
    trainer = pl.Trainer(
        max_epochs=1,
        limit_train_batches=30,
        limit_val_batches=4,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(task, datamodule=data)
    for name in ("val_density_mae", "val_volume_per_atom_mae"):
        print(f"{name}: {float(trainer.callback_metrics[name]):.3f}")
    batch = next(iter(data.val_dataloader()))
    print(
        "density of", batch["sample_id"][0], "in g/cm^3:", f"{float(task.predict(batch)['density'][0]):.2f}"
    )


if __name__ == "__main__":
    main()
