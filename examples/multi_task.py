"""Train one encoder on two data sets and two tasks: forces of alloys and crystal systems of crystals.

uv run python examples/multi_task.py
"""

from __future__ import annotations

import pytorch_lightning as pl
from mml_data import LMDBDataset, MultiDataModule, MultiDataset, devset_path
from mml_graphs import PeriodicPropertiesTransform, PointCloudToGraphTransform
from mml_models import SchNet
from mml_tasks import CrystalSymmetryClassificationTask, ForceRegressionTask, MultiTaskLitModule


def both(split: str) -> MultiDataset:
    """Return a split of the two data sets."""
    transforms = [PeriodicPropertiesTransform(4.0, adaptive_cutoff=True), PointCloudToGraphTransform("pyg")]
    return MultiDataset(
        [LMDBDataset(devset_path(name), transforms=transforms, split=split) for name in ("emt", "prototypes")]
    )


def main() -> None:
    """Train for a few steps, and print the logged values of each task."""
    pl.seed_everything(0, verbose=False)
    data = MultiDataModule(batch_size=16, train_dataset=both("train"), val_dataset=both("val"))
    encoder = SchNet(hidden_dim=32, output_dim=32, num_conv=2, cutoff=4.0)
    model = MultiTaskLitModule(
        ("emt", ForceRegressionTask(encoder, normalize_kwargs="auto")),
        ("prototypes", CrystalSymmetryClassificationTask(encoder, task_keys=["crystal_system"])),
        task_scaling=[1.0, 0.5],
    )
    trainer = pl.Trainer(
        max_epochs=1,
        limit_train_batches=20,
        limit_val_batches=14,  # the first 12 batches contain alloys
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, datamodule=data)
    for name, value in sorted(trainer.callback_metrics.items()):
        if "val" in name:
            print(f"{name}: {float(value):.4g}")


if __name__ == "__main__":
    main()
