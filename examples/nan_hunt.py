"""Find the structure whose target is NaN, and replay its training step.

    uv run python examples/nan_hunt.py

This takes half a minute on two cores.
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
    """Transform that simulates an error in a data set: it replaces the energy of one structure by NaN."""

    def __init__(self, sample_id: str) -> None:
        self.sample_id = sample_id

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        """Return the sample, with a NaN energy if it is the chosen structure."""
        if sample["sample_id"] == self.sample_id:
            sample["targets"] = {**sample["targets"], "energy": torch.tensor(torch.nan)}
        return sample


class EnergyModel(pl.LightningModule):
    """Model with a plain loss. The tasks of mml-tasks would treat a NaN as a missing label."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = SchNet(hidden_dim=32, output_dim=32, num_conv=2, cutoff=4.0)
        self.head = torch.nn.Linear(32, 1)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        """Return the mean squared error of the energies, eV^2."""
        energy = self.head(self.encoder(batch).system_embedding)
        return torch.nn.functional.mse_loss(energy, batch["targets"]["energy"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return an Adam optimizer."""
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def main() -> None:
    """Train past the faulty structure, print its name, and replay its step."""
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
    print(f"Faulty: {finding.where}, first in step {finding.first_step}.")
    print(f"{finding.message} {finding.advice}")
    print(
        f"All weights are finite after the run: {all(bool(p.isfinite().all()) for p in model.parameters())}."
    )

    file = next(folder.glob("step-*.pt"))
    again = EnergyModel()
    step = replay(file, again, weights_only=False)  # the batch contains a graph, and we created the file
    print(
        f"Replay: step {step.step}, loss {step.losses[0]}, "
        f"{len(step.bad_gradients)} parameters with bad gradients."
    )
    print(diagnose(again, step.batches[0], steps=10))


if __name__ == "__main__":
    main()
