"""Run a fit on the accelerator `xpu`, with CPUs as its devices, on every rank of test_mpi.py.

    mpiexec -n RANKS python xpu_ranks.py FOLDER

Each rank writes its losses and batches to FOLDER/RANKS-RANK.json, and the job writes a checkpoint to
FOLDER/RANKS.ckpt. Without a launcher, one process uses the batches of two ranks.
"""

import json
import sys
from pathlib import Path

import mml_distributed
import mml_xpu
import pytorch_lightning as pl
import torch
from pytorch_lightning.accelerators import AcceleratorRegistry
from torch.utils.data.distributed import DistributedSampler

SAMPLES, BATCH, EPOCHS, RATE = 16, 4, 2, 0.05


class CPUsCalledXPU(mml_xpu.XPUAccelerator):
    """Accelerator with the name, the registration and the effects on a Trainer of the real one, on CPUs."""

    @staticmethod
    def is_available():
        return True

    @classmethod
    def parse_devices(cls, devices):
        return list(range(int(devices)))

    @staticmethod
    def get_parallel_devices(devices):
        return [torch.device("cpu") for _ in devices]

    def setup_device(self, device):
        pass


class Line(pl.LightningModule):
    """Module that learns y = 2 x + 1 by least squares."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.layer = torch.nn.Linear(1, 1)
        self.seen, self.losses = [], []

    def training_step(self, batch, batch_idx):
        (x,) = batch
        self.seen.append(x.flatten().int().tolist())
        loss = ((self.layer(x / 10) - (x / 5 + 1)) ** 2).mean()
        self.losses.append(loss.item())
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=RATE)


def main(folder):
    launched = mml_distributed.MPIEnvironment.detect()
    ranks = mml_distributed.read_launch().size if launched else 1
    AcceleratorRegistry["xpu"]["accelerator"] = CPUsCalledXPU
    trainer = pl.Trainer(
        accelerator="xpu",
        devices=ranks,
        strategy="ddp_with_xpu" if launched else "single_xpu",
        max_epochs=EPOCHS,
        use_distributed_sampler=False,  # Lightning's sampler shuffles, but two runs are compared here
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    model = Line()
    samples = torch.utils.data.TensorDataset(torch.arange(float(SAMPLES)).unsqueeze(1))
    shard = trainer.distributed_sampler_kwargs
    sampler = None if shard is None else DistributedSampler(samples, shuffle=False, **shard)
    trainer.fit(model, torch.utils.data.DataLoader(samples, BATCH // ranks, sampler=sampler))
    # A single rank would also save the random state of a GPU.
    trainer.save_checkpoint(Path(folder, f"{ranks}.ckpt"), weights_only=not launched)
    result = {
        "strategy": type(trainer.strategy).__name__,
        "accelerator": type(trainer.accelerator).__name__,
        "checkpoint_io": type(trainer.strategy.checkpoint_io).__name__,
        "backend": torch.distributed.get_backend() if launched else None,
        "parameters": [parameter.item() for parameter in model.parameters()],
        "losses": model.losses,
        "seen": model.seen,
    }
    Path(folder, f"{ranks}-{trainer.global_rank}.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
