"""Train on CPUs in several processes started by an MPI launcher, on one or several nodes.

    uv run mpiexec -n 2 python examples/mpi_train.py
    mpirun -n 16 -ppn 4 -map-by socket -f hosts.txt python examples/mpi_train.py

The first line uses the MPICH of this workspace, the second Intel MPI on four nodes. Without a launcher it
trains in one process. `examples/xpu_ddp_mpi.py` does the same on Intel GPUs.
"""

from __future__ import annotations

from typing import Any

import mml_distributed
import pytorch_lightning as pl
from mml_data import MatSciMLDataModule
from mml_graphs import PeriodicPropertiesTransform, PointCloudToGraphTransform
from mml_models import EGNN
from mml_tasks import ScalarRegressionTask

BATCH_SIZE = 8  # per process: n processes have a global batch of 8 n
LEARNING_RATE = 3e-3  # for one process: the task multiplies it by the square root of the number of processes


def main() -> None:
    """Train on the embedded data set for a few steps; rank zero prints the validation error of all ranks."""
    pl.seed_everything(0, verbose=False)
    where: dict[str, Any] = {"devices": 1}
    if mml_distributed.MPIEnvironment.detect():
        where = {"strategy": "ddp_with_mpi", **mml_distributed.read_launch().trainer_arguments()}
    data = MatSciMLDataModule.from_devset(
        "emt",
        batch_size=BATCH_SIZE,
        transforms=[
            PeriodicPropertiesTransform(4.0, adaptive_cutoff=True),
            PointCloudToGraphTransform("pyg"),
        ],
    )
    task = ScalarRegressionTask(
        EGNN(hidden_dim=32, output_dim=32, num_conv=2, cutoff=4.0),
        task_keys=["energy"],
        normalize_kwargs="auto",
        lr=LEARNING_RATE,
        lr_scaling="sqrt",
    )
    trainer = pl.Trainer(
        accelerator="cpu",
        **where,
        max_epochs=1,
        limit_train_batches=40,
        limit_val_batches=5,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(task, datamodule=data)
    if trainer.is_global_zero:
        print(f"{trainer.world_size} process(es), batches of {BATCH_SIZE * trainer.world_size}")
        for name, value in trainer.callback_metrics.items():
            if name.startswith("val_"):
                print(f"{name}: {float(value):.4f}")


if __name__ == "__main__":
    main()
