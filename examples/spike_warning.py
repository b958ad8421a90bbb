"""Predict a loss spike before it occurs, and compare with a healthy run with a smaller learning rate.

    uv run python examples/spike_warning.py

A small network is trained with Adam on the full batch. The gradients decay faster than Adam's average of
their squares, v. Then v shrinks until the step becomes unstable. This takes some seconds.
"""

import tempfile

import torch
from mml_diagnostics import ModelAutocorrelation
from pytorch_lightning import LightningModule, Trainer
from torch.utils.data import DataLoader, TensorDataset


class Regression(LightningModule):
    """Model that fits tanh of a random direction in 8 dimensions, and stores the loss of each step."""

    def __init__(self, lr: float) -> None:
        super().__init__()
        self.lr = lr
        self.losses: list[float] = []
        self.net = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1))

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int) -> torch.Tensor:
        """Return the mean squared error."""
        x, y = batch
        loss = torch.nn.functional.mse_loss(self.net(x), y)
        self.losses.append(loss.item())
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return an Adam optimizer with the default settings except the learning rate."""
        return torch.optim.Adam(self.parameters(), lr=self.lr)


def train(lr: float, steps: int = 400, seed: int = 0) -> tuple[ModelAutocorrelation, list[float]]:
    """Train, and return the callback and the losses."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(64, 8, generator=generator)
    y = torch.tanh(x @ torch.randn(8, 1, generator=generator))
    torch.manual_seed(seed)
    model = Regression(lr)
    callback = ModelAutocorrelation(sampled=False, analyze_every_n_steps=10)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            accelerator="cpu",
            max_epochs=steps,
            callbacks=[callback],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
        )
        trainer.fit(model, DataLoader(TensorDataset(x, y), batch_size=64))
    return callback, model.losses


def first_spike(losses: list[float]) -> int | None:
    """Return the first step whose loss is ten times the median of the 50 steps before it."""
    for step in range(50, len(losses)):
        if losses[step] > 10 * sorted(losses[step - 50 : step])[25]:
            return step
    return None


def main() -> None:
    """Train both models, and print the spikes and warnings."""
    for name, lr in (("spikes", 0.02), ("healthy", 0.001)):
        callback, losses = train(lr)
        warnings = [f for f in callback.findings if f.severity == "warning"]
        print(f"{name}: learning rate {lr}, first spike at step {first_spike(losses)}")
        for finding in warnings:
            print(f"warning in step {finding.first_step}: {finding.message}\n  {finding.advice}")


if __name__ == "__main__":
    main()
