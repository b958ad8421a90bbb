"""Train on DGL graphs. Only the transform names the backend; encoder and task are the same as for PyG.

    uv run python examples/dgl_backend.py

DGL is no longer maintained. It has no wheels for Python 3.12 and later. To install it:

    pip install 'matsciml[dgl]'
"""

from __future__ import annotations

from importlib.util import find_spec

import pytorch_lightning as pl
from mml_data import MatSciMLDataModule
from mml_graphs import PeriodicPropertiesTransform, PointCloudToGraphTransform
from mml_models import SchNet
from mml_tasks import ForceRegressionTask


def main() -> None:
    """Train for a few steps and print the validation error."""
    if find_spec("dgl") is None:
        print("DGL is not installed. With Python 3.11, run: pip install 'matsciml[dgl]'")
        return
    pl.seed_everything(0, verbose=False)
    data = MatSciMLDataModule.from_devset(
        "emt",
        batch_size=8,
        transforms=[
            PeriodicPropertiesTransform(4.0, adaptive_cutoff=True),
            PointCloudToGraphTransform("dgl"),
        ],
    )
    task = ForceRegressionTask(
        SchNet(hidden_dim=32, output_dim=32, num_conv=2, cutoff=4.0), normalize_kwargs="auto", lr=3e-3
    )
    trainer = pl.Trainer(
        max_epochs=1,
        limit_train_batches=20,
        limit_val_batches=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(task, datamodule=data)
    print(type(next(iter(data.val_dataloader()))["graph"]))
    print(f"val_force_mae: {float(trainer.callback_metrics['val_force_mae']):.4f} eV/angstrom")


if __name__ == "__main__":
    main()
