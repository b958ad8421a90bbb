"""One rank of benchmarks/distributed.py: rendezvous, all-reduces or a fit. It prints one line of numbers."""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from typing import Any

BATCH, WIDTH, LAYERS = 64, 512, 4


def meet() -> dict[str, Any]:
    """Read the launch and do the rendezvous, without counting the imports of torch and Lightning."""
    import mml_distributed
    import torch

    began = time.perf_counter()
    environment = mml_distributed.MPIEnvironment()
    found = time.perf_counter()
    method = f"tcp://{environment.main_address}:{environment.main_port}"
    rank, size = environment.global_rank(), environment.world_size()
    torch.distributed.init_process_group("gloo", init_method=method, rank=rank, world_size=size)
    torch.distributed.barrier()
    return {
        "rank": rank,
        "place": found - began,
        "met": time.perf_counter() - began,
        "mpi4py": "mpi4py" in sys.modules,
    }


def reduce() -> dict[str, Any]:
    """Do the rendezvous and all-reduce tensors of several sizes, and return the time of each."""
    import torch
    from mml_distributed.check import SIZES
    from mml_distributed.check import reduce as reduce_size

    numbers = meet()
    return numbers | {"seconds": [reduce_size(size, torch.device("cpu")).seconds for size in SIZES]}


def fit(strategy: str, ranks: int, steps: int) -> dict[str, Any]:
    """Train a small network; return the samples per second and CPU seconds per step of one rank."""
    import pytorch_lightning as pl
    import torch

    if strategy == "ddp_with_mpi":
        import mml_distributed  # noqa: F401  (registers the strategy)
    warnings.filterwarnings("ignore")
    torch.manual_seed(0)
    warm_up = steps // 5

    class Net(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            layers = [torch.nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS)]
            self.net = torch.nn.Sequential(*[part for layer in layers for part in (layer, torch.nn.ReLU())])
            self.times: list[float] = []
            self.cpu_times: list[float] = []

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            self.times.append(time.perf_counter())
            self.cpu_times.append(time.process_time())
            loss: torch.Tensor = self.net(batch[0]).square().mean()
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=1e-3)

    samples = torch.utils.data.TensorDataset(torch.randn(BATCH * (steps + 1) * ranks, WIDTH))
    model = Net()
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=ranks,
        strategy=strategy,
        max_steps=steps,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, torch.utils.data.DataLoader(samples, batch_size=BATCH))
    seconds = model.times[-1] - model.times[warm_up]
    gradient_bytes = 4 * sum(parameter.numel() for parameter in model.parameters())
    return {
        "rank": trainer.global_rank,
        "rate": BATCH * (len(model.times) - 1 - warm_up) / seconds,
        "cpu": (model.cpu_times[-1] - model.cpu_times[warm_up]) / (len(model.times) - 1 - warm_up),
        "gradient_bytes": gradient_bytes,
    }


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    numbers = (
        fit(rest[0], int(rest[1]), int(rest[2]))
        if what == "fit"
        else {"meet": meet, "reduce": reduce}[what]()
    )
    # A single write, so that lines of several ranks do not mix.
    os.write(1, f"RESULT {json.dumps(numbers)}\n".encode())
