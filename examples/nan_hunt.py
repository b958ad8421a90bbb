"""A NaN in the target of one structure of a data set: found, named, and gone through again.

    uv run python examples/nan_hunt.py

Half a minute on two cores.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from mml_data import MatSciMLDataModule
from mml_diagnostics import GradientCheckCallback, diagnose, replay
from mml_graphs import PeriodicPropertiesTransform, PointCloudToGraphTransform
from mml_models import SchNet


class Spoil:
    """Stands for an error in a data set: takes the energy of one structure away."""

    def __init__(self, sample_id: str) -> None:
        self.sample_id = sample_id

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        """Return the sample, its energy a NaN where it is the one."""
        if sample["sample_id"] == self.sample_id:
            sample["targets"] = {**sample["targets"], "energy": torch.tensor(torch.nan)}
        return sample


class EnergyModel(pl.LightningModule):
    """A model of one's own, with a plain loss: the tasks of mml-tasks take a NaN for a missing label."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = SchNet(hidden_dim=32, output_dim=32, num_conv=2, cutoff=4.0)
        self.head = torch.nn.Linear(32, 1)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        """Return the mean squared error of the energies, eV^2."""
        energy = self.head(self.encoder(batch).system_embedding)
        return torch.nn.functional.mse_loss(energy, batch["targets"]["energy"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam."""
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def main() -> None:
    """Train past the bad structure, say which it is, and look at its step again."""
    pl.seed_everything(0, verbose=False)
    transforms = [
        PeriodicPropertiesTransform(4.0, adaptive_cutoff=True),
        PointCloudToGraphTransform("pyg"),
        Spoil("emt/001227"),
    ]
    data = MatSciMLDataModule.from_devset("emt", batch_size=16, transforms=transforms)
    folder = Path(tempfile.mkdtemp())
    check = GradientCheckCallback(dump_dir=folder)
    trainer = pl.Trainer(
        max_epochs=1,
        limit_train_batches=30,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=[check],
    )
    model = EnergyModel()
    data.setup("fit")
    trainer.fit(model, data.train_dataloader())
    (finding,) = [f for f in check.findings if f.severity == "error"]
    print(f"At fault: {finding.where}, first at step {finding.first_step}.")
    print(f"{finding.message} {finding.advice}")
    print(f"Weights afterwards are finite: {all(bool(p.isfinite().all()) for p in model.parameters())}.")

    file = next(folder.glob("step-*.pt"))
    again = EnergyModel()
    step = replay(file, again, weights_only=False)  # the batch holds a graph; the file is ours
    print(
        f"Again: step {step.step}, loss {step.losses[0]}, gradients of {len(step.bad_gradients)} parameters."
    )
    print(diagnose(again, step.batches[0], steps=10))


if __name__ == "__main__":
    main()
