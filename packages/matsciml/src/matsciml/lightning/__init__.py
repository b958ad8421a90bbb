"""The older toolkit's import path of data modules, callbacks, loss schedules, Intel GPUs and MPI launches."""

from mml_data import MatSciMLDataModule, MultiDataModule

from matsciml.lightning import callbacks, data_utils, ddp, loss_scaling, xpu

__all__ = ["MatSciMLDataModule", "MultiDataModule", "callbacks", "data_utils", "ddp", "loss_scaling", "xpu"]
