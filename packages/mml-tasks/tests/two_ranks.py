"""Run as one of two ranks (LOCAL_RANK): trains uneven parts of eight structures, and writes what it got.

LOCAL_RANK=0 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=... python two_ranks.py FOLDER
"""

import importlib.util
import logging
import os
import sys
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from mml_tasks.training_pass import statistics_of_batches
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.utils.data import DataLoader

spec = importlib.util.spec_from_file_location("rank_cases", Path(__file__).with_name("rank_cases.py"))
assert spec is not None
assert spec.loader is not None
cases = importlib.util.module_from_spec(spec)
spec.loader.exec_module(cases)

PARTS = (slice(0, 3), slice(3, 8))


class Step(nn.Module):
    """What Lightning's DDP strategy does: the training step is the forward of the wrapped module."""

    def __init__(self, task: pl.LightningModule) -> None:
        super().__init__()
        self.task = task

    def forward(self, batch: Any) -> torch.Tensor:
        return self.task.training_step(batch, 0)


def loss_and_gradients(name: str, rank: int) -> dict[str, Any]:
    task = cases.make_task(name)
    step = nn.parallel.DistributedDataParallel(Step(task))
    loss = step(cases.collate(cases.samples_of(name)[PARTS[rank]]))
    loss.backward()
    mean = loss.detach().clone()
    dist.all_reduce(mean)
    gradients = {key: p.grad for key, p in task.named_parameters() if p.grad is not None}
    return {"loss": mean / 2, "gradients": gradients}


def fit(name: str, rank: int, folder: Path) -> dict[str, Any]:
    """Train two epochs of one step each; ranks have three and five structures."""
    task = cases.make_task(name)
    loader = DataLoader(cases.samples_of(name)[PARTS[rank]], batch_size=8, collate_fn=cases.collate)
    trainer = pl.Trainer(**cases.TRAINER, strategy="ddp", devices=2, default_root_dir=folder)
    trainer.fit(task, loader, loader)
    return {"logged": trainer.callback_metrics, "state": task.state_dict()}


def sharded_loss_and_gradients(name: str, rank: int) -> dict[str, Any]:
    """As the strategy for sharded models does: its part of the parameters on each rank, by fully_shard."""
    task = cases.make_task(name)
    mesh = init_device_mesh("cpu", (2,))
    for module in (task.encoder, *task.output_heads.values()):
        fully_shard(module, mesh=mesh)
    loss = task.training_step(cases.collate(cases.samples_of(name)[PARTS[rank]]), 0)
    loss.backward()
    mean = loss.detach().clone()
    dist.all_reduce(mean)
    gradients = {key: p.grad.full_tensor() for key, p in task.named_parameters() if p.grad is not None}
    return {"loss": mean / 2, "gradients": gradients}


def refusal_of_sharded_forces(folder: Path) -> str:
    task = cases.make_task("force")
    fully_shard(task.encoder, mesh=init_device_mesh("cpu", (2,)))
    trainer = pl.Trainer(**cases.TRAINER, strategy="ddp", devices=2, default_root_dir=folder)
    task.trainer = trainer
    try:
        task.on_train_start()
    except ValueError as error:
        return str(error)
    return "nothing"


def main() -> None:
    folder, rank = Path(sys.argv[1]), int(os.environ["LOCAL_RANK"])
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    results: dict[str, Any] = {"fit": {name: fit(name, rank, folder) for name in cases.FITS}}
    if not dist.is_initialized():
        dist.init_process_group("gloo", rank=rank, world_size=2)
    results["steps"] = {name: loss_and_gradients(name, rank) for name in cases.CASES}
    results["sharded"] = {name: sharded_loss_and_gradients(name, rank) for name in cases.SHARDED}
    results["refusal"] = refusal_of_sharded_forces(folder)
    everything = cases.samples_of("masked")
    whole = DataLoader(everything, batch_size=3, collate_fn=cases.collate)
    sampler = torch.utils.data.DistributedSampler(everything, shuffle=False)  # type: ignore[arg-type,var-annotated]
    sharded = DataLoader(everything, batch_size=2, collate_fn=cases.collate, sampler=sampler)
    results["statistics"] = {
        "whole": statistics_of_batches(whole, 100, ["energy"]),
        "sharded": statistics_of_batches(sharded, 100, ["energy"]),
    }
    infinite = cases.samples_of("masked")
    infinite[1][1]["energy"][0] = torch.inf
    try:
        statistics_of_batches(DataLoader(infinite, batch_size=3, collate_fn=cases.collate), 100)
    except ValueError as error:
        results["error"] = str(error)
    torch.save(results, folder / f"rank{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
