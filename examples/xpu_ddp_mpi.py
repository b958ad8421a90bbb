"""Train on the Intel GPUs of several nodes, with one process per GPU, started by an MPI launcher.

    mpirun -n 12 -ppn 6 python examples/xpu_ddp_mpi.py
    uv run mpiexec -n 2 python examples/xpu_ddp_mpi.py

The second line is for a machine without Intel GPUs. It trains on CPUs with the MPICH of this workspace.
Without a launcher, it trains in one process and prints how to start more.
"""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from mml_data import MatSciMLDataModule
from mml_distributed import MPIEnvironment, read_launch
from mml_graphs import PeriodicPropertiesTransform, PointCloudToGraphTransform
from mml_models import EGNN
from mml_tasks import ForceRegressionTask
from mml_xpu import XPUAccelerator

BATCH_SIZE = 16  # per process
LEARNING_RATE = 3e-3  # for one process: the task multiplies it by the square root of the number of processes


def place() -> dict[str, Any]:
    """Return the Trainer's arguments for devices. Each process uses the GPU of its local rank."""
    accelerator = "xpu" if XPUAccelerator.is_available() else "cpu"
    if not MPIEnvironment.detect():
        print("no MPI launcher: using one process. To use two: mpirun -n 2 python examples/xpu_ddp_mpi.py")
        strategy = "single_xpu" if accelerator == "xpu" else "auto"
        return {"accelerator": accelerator, "strategy": strategy, "devices": 1}
    strategy = "ddp_with_xpu" if accelerator == "xpu" else "ddp_with_mpi"
    return {"accelerator": accelerator, "strategy": strategy, **read_launch().trainer_arguments()}


def main() -> None:
    """Train on the embedded data set for a few steps. Rank zero prints the validation errors of all ranks."""
    pl.seed_everything(0, verbose=False)
    data = MatSciMLDataModule.from_devset(
        "emt",
        batch_size=BATCH_SIZE,
        transforms=[
            PeriodicPropertiesTransform(4.0, adaptive_cutoff=True),
            PointCloudToGraphTransform("pyg"),
        ],
    )
    task = ForceRegressionTask(
        EGNN(hidden_dim=32, output_dim=32, num_conv=2, cutoff=4.0),
        normalize_kwargs="auto",
        task_loss_scaling={"energy": 1.0, "force": 10.0},
        lr=LEARNING_RATE,
        lr_scaling="sqrt",
    )
    trainer = pl.Trainer(
        **place(),
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
        print(f"{trainer.world_size} process(es), the first on {trainer.strategy.root_device}")
        for name in ("val_energy_per_atom_mae", "val_force_mae"):
            print(f"{name}: {float(trainer.callback_metrics[name]):.4f}")


if __name__ == "__main__":
    main()
