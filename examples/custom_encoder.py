"""Write and train a custom encoder: any function of elements, edges and edge vectors.

uv run python examples/custom_encoder.py
"""

from __future__ import annotations

import pytorch_lightning as pl
import torch
from mml_data import MatSciMLDataModule
from mml_graphs import PeriodicPropertiesTransform, PointCloudToGraphTransform
from mml_models import GenericEncoder
from mml_models.testing import check_encoder
from mml_tasks import ForceRegressionTask


class Pairs(torch.nn.Module):
    """Encoder that sums, for each atom, a learned function of its neighbors' elements and distances."""

    def __init__(self, width: int, cutoff: float) -> None:
        super().__init__()
        self.cutoff = cutoff
        self.elements = torch.nn.Embedding(101, width)
        self.of_distance = torch.nn.Sequential(torch.nn.Linear(1, width), torch.nn.Tanh())

    def forward(
        self,
        z: torch.Tensor,
        pos: torch.Tensor,
        edge_index: torch.Tensor,
        edge_vectors: torch.Tensor,
        batch: torch.Tensor,
    ) -> torch.Tensor:
        """Return [N, width]. The envelope takes the message of every edge smoothly to zero at the cutoff."""
        source, destination = edge_index
        length = edge_vectors.norm(dim=1, keepdim=True)
        envelope = (1 - (length / self.cutoff).clamp(max=1) ** 2) ** 3
        messages = envelope * self.of_distance(length) * self.elements(z[destination])
        return self.elements(z).index_add(0, source, messages)


def main() -> None:
    """Run the test suite for encoders (invariance, smoothness and more), and train for a few steps."""
    pl.seed_everything(0, verbose=False)
    encoder = GenericEncoder(Pairs(32, cutoff=4.0), output_dim=32, cutoff=4.0)
    check_encoder(encoder)
    print("the encoder passes the test suite")
    data = MatSciMLDataModule.from_devset(
        "emt",
        batch_size=16,
        transforms=[
            PeriodicPropertiesTransform(4.0, adaptive_cutoff=True),
            PointCloudToGraphTransform("pyg"),
        ],
    )
    trainer = pl.Trainer(
        max_epochs=1,
        limit_train_batches=20,
        limit_val_batches=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(ForceRegressionTask(encoder, normalize_kwargs="auto", lr=3e-3), datamodule=data)
    print(f"val_force_mae: {float(trainer.callback_metrics['val_force_mae']):.4f} eV/angstrom")


if __name__ == "__main__":
    main()
