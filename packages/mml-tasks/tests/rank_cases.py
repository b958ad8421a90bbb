"""Tasks and samples that the same test code trains on one rank and on two."""

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from mml_tasks import (
    BatchQuantileLoss,
    BinaryClassificationTask,
    ConditionalHuberLoss,
    CrystalSymmetryClassificationTask,
    ForceRegressionTask,
    GradFreeForceRegressionTask,
    L2NormLoss,
    ScalarRegressionTask,
)
from mml_tasks.testing import ToyEncoder, random_structure, toy_batch, toy_graph
from torch import nn

TRAINER: dict[str, Any] = {
    "accelerator": "cpu",
    "max_epochs": 2,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
    "use_distributed_sampler": False,
}


class MeanOfRows(nn.Module):
    """Loss without a reduction, which the task evaluates as a mean over rows."""

    def forward(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return (output - target).cosh().log().mean()


def force(**options: Any) -> ForceRegressionTask:
    return ForceRegressionTask(
        ToyEncoder(),
        normalize_kwargs={"energy_per_atom_mean": -0.3, "force_std": 0.8},
        task_loss_scaling={"force": 5.0},
        **options,
    )


def symmetry() -> CrystalSymmetryClassificationTask:
    weights = torch.linspace(0.5, 2.0, 7)
    loss = {"crystal_system": nn.CrossEntropyLoss(weight=weights, label_smoothing=0.1)}
    return CrystalSymmetryClassificationTask(
        ToyEncoder(), task_keys=["crystal_system", "space_group"], loss_func=loss
    )


CASES = {
    "force": force,
    "masked": force,
    "one rank without labels": force,
    "no labels at all": force,
    "stress": lambda: force(compute_stress=True),
    "l1": lambda: force(loss_func="L1Loss"),
    "l2": lambda: force(loss_func={"force": L2NormLoss(), "energy": "AtomWeightedMSE"}),
    "masked l2": lambda: force(loss_func={"force": L2NormLoss(), "energy": "AtomWeightedL1"}),
    "conditional": lambda: force(loss_func={"force": ConditionalHuberLoss(0.3, [0.5, 1.0], [1.0, 0.5, 0.1])}),
    "masked quantile": lambda: force(
        loss_func={"force": BatchQuantileLoss({0.0: 1.0, 0.5: 0.5, 0.9: 0.1}, "huber", huber_delta=0.5)}
    ),
    "sum": lambda: force(loss_func={"force": nn.HuberLoss(reduction="sum")}),
    "masked opaque": lambda: force(loss_func={"force": MeanOfRows()}),
    "scalar": lambda: ScalarRegressionTask(ToyEncoder(), task_keys=["band_gap", "density"]),
    "masked scalar": lambda: ScalarRegressionTask(ToyEncoder(), task_keys=["band_gap", "density"]),
    "binary": lambda: BinaryClassificationTask(ToyEncoder(), task_keys=["is_metal"]),
    "masked binary": lambda: BinaryClassificationTask(ToyEncoder(), task_keys=["is_metal"]),
    "masked symmetry": symmetry,
    "direct forces": lambda: GradFreeForceRegressionTask(ToyEncoder(), task_keys=["energy", "force"]),
}

SHARDED = ("scalar", "masked scalar", "binary", "direct forces")

SHARDED_FITS = ("masked scalar", "direct forces", "force")
"""The last one is refused, because torch has no second derivatives of sharded parameters."""

ACCUMULATED = ("masked", "sum", "masked symmetry")

FITS = {
    "force": force,
    "masked": force,
    "auto": lambda: ForceRegressionTask(
        ToyEncoder(), task_keys=["energy"], normalize_kwargs={"auto": True, "energy_reference": "auto"}
    ),
    "masked scalar": lambda: ScalarRegressionTask(
        ToyEncoder(), task_keys=["band_gap", "density"], normalize_kwargs="auto"
    ),
    "masked binary": lambda: BinaryClassificationTask(ToyEncoder(), task_keys=["is_metal"]),
}


def make_task(name: str) -> pl.LightningModule:
    torch.manual_seed(0)
    return {**CASES, **FITS}[name]()


def samples_of(name: str) -> list[Any]:
    """Return eight structures of 1 to 5 atoms; some cases have missing labels."""
    generator = torch.Generator().manual_seed(3)
    samples = []
    for seed in range(8):
        numbers, pos, cell = random_structure(seed, 1 + seed % 5, torch.float32)
        targets = {
            "energy": torch.randn(1, 1, generator=generator) * len(pos),
            "force": torch.randn(len(pos), 3, generator=generator),
            "stress": torch.randn(1, 3, 3, generator=generator),
            "band_gap": torch.rand(1, 1, generator=generator),
            "density": torch.rand(1, 1, generator=generator) * 10,
            "is_metal": torch.randint(0, 2, (1, 1), generator=generator).float(),
            "space_group": torch.randint(1, 231, (1, 1), generator=generator).float(),
            "crystal_system": torch.randint(0, 7, (1, 1), generator=generator).float(),
        }
        samples.append((toy_graph(numbers % 5 + 1, pos, cell), targets))
    without: Sequence[int] = ()
    if "masked" in name:
        without = (1, 3, 4)
        samples[6][1]["force"][0, 1] = torch.nan  # one component of one atom
    elif name == "one rank without labels":
        without = (0, 1, 2)
    elif name == "no labels at all":
        without = range(8)
    for index in without:
        for value in samples[index][1].values():
            value.fill_(torch.nan)
    return samples


def collate(samples: Sequence[Any]) -> dict[str, Any]:
    targets = {key: torch.cat([sample[1][key] for sample in samples]) for key in samples[0][1]}
    return toy_batch([graph for graph, _ in samples], targets)
