"""DDP fit on every rank, which records its batches, gradients and parameters."""

import json
import warnings
from datetime import timedelta
from pathlib import Path

import mml_distributed
import pytorch_lightning as pl
import torch

BATCH, SAMPLES, EPOCHS, RATE = 2, 16, 2, 0.05


class Line(pl.LightningModule):
    """Least-squares fit of y = 2 x + 1."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        with torch.no_grad():
            self.layer.weight.fill_(0.5)
            self.layer.bias.fill_(-0.25 + 9 * mml_distributed.read_launch().rank)  # DDP takes rank 0's
        self.seen = []
        self.gradients = []

    def training_step(self, batch, batch_idx):
        (x,) = batch
        self.seen.append(x.flatten().int().tolist())
        return ((self.layer(x / 10) - (x / 5 + 1)) ** 2).mean()

    def on_before_optimizer_step(self, optimizer):
        self.gradients.append([parameter.grad.item() for parameter in self.parameters()])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=RATE)


def main(folder):
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    samples = torch.utils.data.TensorDataset(torch.arange(float(SAMPLES)).unsqueeze(1))
    launch = mml_distributed.read_launch()
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=launch.local_size,
        num_nodes=launch.size // launch.local_size,
        strategy=mml_distributed.MPIDDPStrategy(timeout=timedelta(seconds=30)),
        max_epochs=EPOCHS,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    model = Line()
    trainer.fit(model, torch.utils.data.DataLoader(samples, batch_size=BATCH, shuffle=False))
    result = {
        "parameters": [parameter.item() for parameter in model.parameters()],
        "gradients": model.gradients,
        "seen": model.seen,
        "backend": torch.distributed.get_backend(),
        "environment": type(trainer.strategy.cluster_environment).__name__,
        "node_rank": trainer.node_rank,
        "is_global_zero": trainer.is_global_zero,
        "address": trainer.strategy.cluster_environment.main_address,
    }
    Path(folder, f"{trainer.global_rank}.json").write_text(json.dumps(result))
