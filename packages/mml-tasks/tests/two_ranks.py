"""Train uneven parts of eight structures on one of two ranks (LOCAL_RANK), and write the results.

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
from mml_tasks import ScalarRegressionTask
from mml_tasks.normalization.training_pass import statistics_of_batches
from mml_tasks.testing import ToyEncoder
from pytorch_lightning.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.utils.data import DataLoader

spec = importlib.util.spec_from_file_location("rank_cases", Path(__file__).with_name("rank_cases.py"))
assert spec is not None
assert spec.loader is not None
cases = importlib.util.module_from_spec(spec)
spec.loader.exec_module(cases)

PARTS = (slice(0, 3), slice(3, 8))


class Step(nn.Module):
    """Wrapper whose forward is the training step, as in Lightning's DDP strategy."""

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


def shard(task: pl.LightningModule, mesh: Any) -> None:
    for module in (task.encoder, *task.output_heads.values()):
        fully_shard(module, mesh=mesh)


def sharded_loss_and_gradients(name: str, rank: int) -> dict[str, Any]:
    """Take a step with sharded parameters, as the strategy for sharded models does."""
    task = cases.make_task(name)
    shard(task, init_device_mesh("cpu", (2,)))
    loss = task.training_step(cases.collate(cases.samples_of(name)[PARTS[rank]]), 0)
    loss.backward()
    mean = loss.detach().clone()
    dist.all_reduce(mean)
    gradients = {key: p.grad.full_tensor() for key, p in task.named_parameters() if p.grad is not None}
    return {"loss": mean / 2, "gradients": gradients}


def sharded_fit(name: str, rank: int, folder: Path) -> dict[str, Any]:
    """Train with Lightning's strategy for sharded models, and write a checkpoint in one file.

    `FSDPStrategy` takes GPUs only; `ModelParallelStrategy` also runs on a CPU.
    """
    task = cases.make_task(name)
    task.__class__ = type("Sharded", (type(task),), {"configure_model": _configure_model})
    loader = DataLoader(cases.samples_of(name)[PARTS[rank]], batch_size=8, collate_fn=cases.collate)
    strategy = ModelParallelStrategy(
        data_parallel_size=2,
        tensor_parallel_size=1,
        save_distributed_checkpoint=False,
        process_group_backend="gloo",
    )
    trainer = pl.Trainer(**cases.TRAINER, strategy=strategy, devices=2, default_root_dir=folder)
    try:
        trainer.fit(task, loader, loader)
    except ValueError as error:
        return {"error": str(error)}
    logged = dict(trainer.callback_metrics)
    trainer.validate(task, loader, verbose=False)  # sets the module up once more
    trainer.save_checkpoint(folder / f"{name}.ckpt", weights_only=False)
    state = {
        key: value.full_tensor() if isinstance(value, DTensor) else value
        for key, value in task.state_dict().items()
    }
    parts = [p.to_local().numel() < p.numel() for p in task.parameters() if isinstance(p, DTensor)]
    return {"logged": logged, "state": state, "in_parts": any(parts)}


def _configure_model(task: Any) -> None:
    """Shard the module, as the documentation of tasks describes."""
    if task.device_mesh is not None and not isinstance(task.encoder, FSDPModule):
        shard(task, task.device_mesh["data_parallel"])


def scaled_rate(rank: int, folder: Path) -> dict[str, float]:
    """Train with a rate that is scaled for two ranks, with batches of two and two accumulated batches."""
    torch.manual_seed(0)
    task = ScalarRegressionTask(ToyEncoder(), task_keys=["band_gap"], lr=0.01, lr_scaling="sqrt")
    loader = DataLoader(cases.samples_of("scalar")[4 * rank :][:4], batch_size=2, collate_fn=cases.collate)
    trainer = pl.Trainer(
        **cases.TRAINER, strategy="ddp", devices=2, accumulate_grad_batches=2, default_root_dir=folder
    )
    trainer.fit(task, loader, loader)
    names = ("lr/scaled", "effective_batch_size")
    logged = {name: trainer.callback_metrics[name].item() for name in names}
    return {**logged, "lr": trainer.optimizers[0].param_groups[0]["lr"]}


class Gradients(pl.Callback):
    """Records the gradient of the only optimizer step."""

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        found = pl_module.named_parameters()
        self.found = {name: p.grad.clone() for name, p in found if p.grad is not None}


WINDOWS = ([[0], [1, 2]], [[3, 4, 5], [6, 7]])
"""Samples in the batches of each rank, whose gradients are accumulated to one step."""


def accumulated_gradients(name: str, rank: int, folder: Path) -> dict[str, torch.Tensor]:
    """Take one step with two uneven batches on each rank."""
    task, callback = cases.make_task(name), Gradients()
    samples = cases.samples_of(name)
    loader = DataLoader(samples, batch_sampler=WINDOWS[rank], collate_fn=cases.collate)
    options = cases.TRAINER | {"max_epochs": 1, "limit_val_batches": 0, "callbacks": [callback]}
    strategy = {"strategy": "ddp", "devices": 2, "accumulate_grad_batches": 2}
    trainer = pl.Trainer(**options, **strategy, default_root_dir=folder)
    trainer.fit(task, loader, loader)
    return callback.found


def main() -> None:
    folder, rank = Path(sys.argv[1]), int(os.environ["LOCAL_RANK"])
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    results: dict[str, Any] = {"fit": {name: fit(name, rank, folder) for name in cases.FITS}}
    results["accumulated"] = {name: accumulated_gradients(name, rank, folder) for name in cases.ACCUMULATED}
    if not dist.is_initialized():
        dist.init_process_group("gloo", rank=rank, world_size=2)
    results["steps"] = {name: loss_and_gradients(name, rank) for name in cases.CASES}
    results["sharded"] = {name: sharded_loss_and_gradients(name, rank) for name in cases.SHARDED}
    results["sharded_fit"] = {name: sharded_fit(name, rank, folder) for name in cases.SHARDED_FITS}
    results["scaled_rate"] = scaled_rate(rank, folder)
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
