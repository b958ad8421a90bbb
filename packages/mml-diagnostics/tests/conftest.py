"""Fixtures with a small working model and valid structures. Each test introduces one defect."""

import os
import socket
import subprocess
import sys
import warnings
from dataclasses import dataclass

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader

NUM_ELEMENTS = 8


@dataclass
class Embeddings:
    system_embedding: torch.Tensor
    point_embedding: torch.Tensor


class Encoder(nn.Module):
    """Encoder with one message passing layer and a mean over atoms."""

    def __init__(self, dim=16):
        super().__init__()
        self.embedding = nn.Embedding(NUM_ELEMENTS, dim)
        self.message = nn.Linear(dim + 1, dim)
        self.update = nn.Linear(dim, dim)

    def forward(self, batch):
        src, dst = batch["edge_index"]
        pos = batch["pos"]
        distance = (pos[dst] + batch["offsets"] - pos[src]).norm(dim=1, keepdim=True)
        h = self.embedding(batch["atomic_numbers"])
        m = torch.tanh(self.message(torch.cat((h[dst], distance), dim=1)))
        h = h + torch.tanh(self.update(torch.zeros_like(h).index_add(0, src, m.to(h.dtype))))
        counts = batch["natoms"].to(h.dtype)[:, None]
        system = torch.zeros(len(counts), h.shape[1]).index_add(0, batch["batch"], h) / counts
        return Embeddings(system, h)


class Task(LightningModule):
    def __init__(self, lr=1e-2):
        super().__init__()
        self.encoder = Encoder()
        self.output_heads = nn.ModuleDict(
            {"energy": nn.Sequential(nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1))}
        )
        self.lr = lr

    def embed(self, batch):
        return self.encoder(batch).system_embedding

    def training_step(self, batch, batch_idx):
        energy = self.output_heads["energy"](self.embed(batch))
        return nn.functional.mse_loss(energy, batch["targets"]["energy"])

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.lr)


def make_sample(index):
    """Return a fully connected sample with 4 to 6 atoms. Its energy depends on the elements."""
    generator = torch.Generator().manual_seed(index)
    n = 4 + index % 3
    grid = torch.tensor(
        [[i, j, k] for i in range(2) for j in range(2) for k in range(2)], dtype=torch.float32
    )
    pos = 2.5 * grid[:n] + 0.2 * torch.rand(n, 3, generator=generator)
    numbers = torch.randint(1, NUM_ELEMENTS, (n,), generator=generator)
    src, dst = (torch.ones(n, n) - torch.eye(n)).nonzero().T
    return {
        "sample_id": f"test/{index:06d}",
        "atomic_numbers": numbers,
        "pos": pos,
        "cell": 10 * torch.eye(3)[None],
        "edge_index": torch.stack((src, dst)),
        "offsets": torch.zeros(len(src), 3),
        "targets": {"energy": numbers.float().mean().reshape(1, 1) / 4 - 1},
    }


def collate(samples):
    counts = torch.tensor([len(s["pos"]) for s in samples])
    starts = [0, *counts.cumsum(0).tolist()]
    return {
        "sample_id": [s["sample_id"] for s in samples],
        "atomic_numbers": torch.cat([s["atomic_numbers"] for s in samples]),
        "pos": torch.cat([s["pos"] for s in samples]),
        "cell": torch.cat([s["cell"] for s in samples]),
        "edge_index": torch.cat([s["edge_index"] + i for s, i in zip(samples, starts, strict=False)], dim=1),
        "offsets": torch.cat([s["offsets"] for s in samples]),
        "natoms": counts,
        "batch": torch.repeat_interleave(torch.arange(len(samples)), counts),
        "targets": {"energy": torch.cat([s["targets"]["energy"] for s in samples])},
    }


@pytest.fixture
def samples():
    return [make_sample(i) for i in range(32)]


@pytest.fixture
def make_loader():
    return lambda samples, batch_size=8: DataLoader(samples, batch_size=batch_size, collate_fn=collate)


@pytest.fixture
def make_batch():
    return collate


@pytest.fixture
def task_class():
    return Task


@pytest.fixture
def make_task():
    def make(cls=Task, **kwargs):
        torch.manual_seed(0)
        return cls(**kwargs)

    return make


@pytest.fixture
def make_trainer(tmp_path):
    def make(*callbacks, **kwargs):
        options = {
            "accelerator": "cpu",
            "devices": 1,
            "max_epochs": 1,
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "default_root_dir": tmp_path,
        }
        return Trainer(callbacks=list(callbacks), **(options | kwargs))

    return make


@pytest.fixture(autouse=True)
def one_thread():
    """Use one thread, because more threads slow down models of this size."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def quiet_lightning():
    """Ignore the deprecations inside Lightning and its advice on data loaders."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*LeafSpec.*deprecated.*")  # Lightning 2.6 with torch 2.15
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*number of training batches.*smaller than the logging.*")
        yield


@pytest.fixture
def on_two_ranks():
    """Run a script as two ranks that communicate by gloo on the loopback device."""

    def run(script, folder):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        common = {"WORLD_SIZE": "2", "NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        common["OMP_NUM_THREADS"] = "1"
        processes = [
            subprocess.Popen(
                [sys.executable, "-W", "ignore", str(script), str(folder)],
                env={**os.environ, **common, "LOCAL_RANK": str(rank), "RANK": str(rank)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for rank in range(2)
        ]
        try:
            output = [process.communicate(timeout=240)[0] for process in processes]
        finally:
            for process in processes:
                process.kill()
        assert [process.returncode for process in processes] == [0, 0], "\n".join(output)

    return run
