"""Fit with parameters that are sharded over the ranks, and MPIEnvironment as a plugin of the Trainer."""

import json
import warnings
from pathlib import Path

import pytorch_lightning as pl
import torch
from mml_distributed import MPIEnvironment
from pytorch_lightning.strategies import ModelParallelStrategy
from torch.distributed.fsdp import fully_shard
from torch.utils.data.distributed import DistributedSampler


class Net(pl.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
        self.parts = []

    def configure_model(self):
        fully_shard(self.layer, mesh=self.device_mesh["data_parallel"])

    def training_step(self, batch, batch_idx):
        return self.layer(batch).square().mean()

    def on_fit_end(self):
        for parameter in self.parameters():
            self.parts.append(parameter.to_local().numel())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def main(folder):
    warnings.filterwarnings("ignore")
    environment = MPIEnvironment()
    trainer = pl.Trainer(
        accelerator="cpu",
        **environment.launch.trainer_arguments(),
        strategy=ModelParallelStrategy(environment.world_size(), 1, process_group_backend="gloo"),
        plugins=[environment],
        max_epochs=2,
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data = torch.arange(64.0).view(16, 4) / 64
    sampler = DistributedSampler(data, environment.world_size(), environment.global_rank(), shuffle=False)
    model = Net()
    trainer.fit(model, torch.utils.data.DataLoader(data, batch_size=2, sampler=sampler))
    whole = torch.cat([parameter.full_tensor().flatten() for parameter in model.parameters()])
    result = {"parameters": whole.tolist(), "parts": model.parts}
    Path(folder, f"{environment.global_rank()}.json").write_text(json.dumps(result))
