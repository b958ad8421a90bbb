"""Train a classifier of crystal systems.

uv run python examples/classification.py
"""

from __future__ import annotations

import pytorch_lightning as pl
from mml_data import MatSciMLDataModule
from mml_graphs import PeriodicPropertiesTransform, PointCloudToGraphTransform
from mml_models import SchNet
from mml_tasks import CrystalSymmetryClassificationTask

SYSTEMS = ("triclinic", "monoclinic", "orthorhombic", "tetragonal", "trigonal", "hexagonal", "cubic")


def main() -> None:
    """Train for a few steps, and print the accuracy and some predictions."""
    pl.seed_everything(0, verbose=False)
    data = MatSciMLDataModule.from_devset(
        "prototypes",
        batch_size=16,
        transforms=[
            PeriodicPropertiesTransform(5.0, adaptive_cutoff=True),
            PointCloudToGraphTransform("pyg"),
        ],
    )
    task = CrystalSymmetryClassificationTask(
        SchNet(hidden_dim=32, output_dim=32, num_conv=2, cutoff=5.0, reduction="mean"),
        task_keys=["crystal_system"],
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
    print(f"accuracy: {float(trainer.callback_metrics['val_crystal_system_accuracy']):.0%}")
    batch = next(iter(data.val_dataloader()))
    found = task.predicted_class(task.predict(batch)["crystal_system"])
    for name, system in list(zip(batch["sample_id"], found.tolist(), strict=True))[:3]:
        print(f"{name}: {SYSTEMS[system]}")


if __name__ == "__main__":
    main()
