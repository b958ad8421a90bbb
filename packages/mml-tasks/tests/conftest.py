import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from mml_tasks.testing import random_structure, toy_batch, toy_graph
from torch.utils.data import DataLoader


def make_samples(count: int, dtype: torch.dtype = torch.float32) -> list[tuple[Any, dict[str, torch.Tensor]]]:
    """Return graph and targets of structures of 2 to 5 atoms, with random targets."""
    generator = torch.Generator().manual_seed(7)
    samples = []
    for seed in range(count):
        numbers, pos, cell = random_structure(seed, 2 + seed % 4, dtype)
        targets = {
            "energy": torch.randn(1, 1, generator=generator).to(dtype) * len(pos),
            "force": torch.randn(len(pos), 3, generator=generator).to(dtype),
            "stress": torch.randn(1, 3, 3, generator=generator).to(dtype),
            "band_gap": torch.rand(1, 1, generator=generator).to(dtype),
            "density": torch.rand(1, 1, generator=generator).to(dtype) * 10,
            "is_metal": torch.randint(0, 2, (1, 1), generator=generator),
            "space_group": torch.randint(1, 231, (1, 1), generator=generator),
            "crystal_system": torch.randint(0, 7, (1, 1), generator=generator),
        }
        samples.append((toy_graph(numbers, pos, cell), targets))
    return samples


def collate(samples: Sequence[tuple[Any, dict[str, torch.Tensor]]]) -> dict[str, Any]:
    targets = {key: torch.cat([sample[1][key] for sample in samples]) for key in samples[0][1]}
    return toy_batch([graph for graph, _ in samples], targets)


class ToyData(pl.LightningDataModule):
    """Samples in batches of four, the last of which may be smaller, with statistics of the targets."""

    def __init__(self, samples: Sequence[Any]) -> None:
        super().__init__()
        self.samples = list(samples)

    def loader(self) -> DataLoader:
        return DataLoader(self.samples, batch_size=4, collate_fn=collate)

    train_dataloader = val_dataloader = test_dataloader = predict_dataloader = loader

    def unlabeled(self) -> DataLoader:
        return DataLoader([(graph, {}) for graph, _ in self.samples], batch_size=4, collate_fn=collate)

    def target_statistics(self) -> dict[str, dict[str, Any]]:
        statistics: dict[str, dict[str, Any]] = {}
        natoms = torch.tensor([[len(graph.pos)] for graph, _ in self.samples])
        for key in self.samples[0][1]:
            values = torch.cat([targets[key] for _, targets in self.samples])
            if not values.is_floating_point():
                classes, counts = values.unique(return_counts=True)
                statistics[key] = {"classes": classes.tolist(), "class_counts": counts.tolist()}
                continue
            statistics[key] = {
                "mean": values.mean().item(),
                "std": values.std().item(),
                "rms": values.square().mean().sqrt().item(),
            }
            if values.shape == natoms.shape:
                statistics[key]["per_atom_mean"] = (values / natoms).mean().item()
                statistics[key]["per_atom_std"] = (values / natoms).std().item()
        return statistics


class TwoDataSets(pl.LightningDataModule):
    """Data sets "md" with ten samples and "bulk" with seven others, with statistics of each."""

    def __init__(self) -> None:
        super().__init__()
        samples = make_samples(17)
        self.parts = {"md": ToyData(samples[:10]), "bulk": ToyData(samples[10:])}

    def loaders(self) -> dict[str, DataLoader]:
        return {name: part.loader() for name, part in self.parts.items()}

    train_dataloader = val_dataloader = test_dataloader = predict_dataloader = loaders

    def target_statistics(self) -> dict[str, Any]:
        return {name: part.target_statistics() for name, part in self.parts.items()}


@pytest.fixture
def both() -> TwoDataSets:
    return TwoDataSets()


@pytest.fixture
def batch() -> dict[str, Any]:
    """Return a batch of five structures in float64."""
    return collate(make_samples(5, torch.float64))


@pytest.fixture
def collate_samples() -> Callable[[Sequence[Any]], dict[str, Any]]:
    return collate


@pytest.fixture
def data() -> ToyData:
    return ToyData(make_samples(10))


@pytest.fixture
def make_trainer(tmp_path: Any) -> Callable[..., pl.Trainer]:
    def make(**options: Any) -> pl.Trainer:
        defaults: dict[str, Any] = {
            "accelerator": "cpu",
            "default_root_dir": tmp_path,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "enable_checkpointing": False,
            "logger": False,
            "max_epochs": 1,
            "num_sanity_val_steps": 0,
        }
        return pl.Trainer(**(defaults | options))

    return make


@pytest.fixture(scope="session")
def on_two_ranks() -> Callable[[Path, Path], None]:
    """Run a script as two processes that communicate through gloo on the loopback device."""

    def run(script: Path, folder: Path) -> None:
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # These warnings concern Lightning 2.6 with torch 2.15, and machines with few cores.
    for item in items:
        if "mml-tasks" in str(item.path):
            for text in (".*LeafSpec.*deprecated.*", ".*does not have many workers.*"):
                item.add_marker(pytest.mark.filterwarnings(f"ignore:{text}"))


class TinyModule(pl.LightningModule):
    """Module with one parameter for each target, which records the loss weights of each batch."""

    def __init__(self, keys: Sequence[str] = ("energy", "force")) -> None:
        super().__init__()
        self.task_loss_scaling = dict.fromkeys(keys, 1.0)
        self.last_losses: dict[str, torch.Tensor] = {}
        self.loss_weighting = None
        self.numbers = torch.nn.Parameter(torch.arange(len(keys)) * 2.0 + 1.0)
        self.seen: list[tuple[int, dict[str, float]]] = []
        """Number of optimizer steps before each batch, and its weights."""
        self.epochs: list[int] = []
        """Number of epochs that had begun at each batch."""
        self.begun = 0

    def on_train_epoch_start(self) -> None:
        self.begun += 1

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self.seen.append((self.global_step, dict(self.task_loss_scaling)))
        self.epochs.append(self.begun)
        while not isinstance(batch, torch.Tensor):  # several loaders, or a TensorDataset
            batch = next(
                part for part in (batch.values() if isinstance(batch, dict) else batch) if part is not None
            )
        losses = {
            key: (number * batch.float().mean() - i).square()
            for i, (key, number) in enumerate(zip(self.task_loss_scaling, self.numbers, strict=True))
        }
        self.last_losses = {key: loss.detach() for key, loss in losses.items()}
        scaled = {key: self.task_loss_scaling[key] * loss for key, loss in losses.items()}
        return (
            self.loss_weighting(scaled) if self.loss_weighting else torch.stack(list(scaled.values())).sum()
        )

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 0.01)


@pytest.fixture
def tiny() -> type[TinyModule]:
    return TinyModule
