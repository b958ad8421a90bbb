import pytest
import torch
from matsciml.runs.plateau_steps import PlateauSteps
from matsciml.runs.run_checkpoints import LastCheckpoint
from pytorch_lightning import LightningModule, Trainer
from torch.utils.data import DataLoader

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")


class Plateau(LightningModule):
    """Module with a constant validation loss, so that the scheduler halves the rate after every epoch."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def training_step(self, batch, batch_idx):
        return -self.weight

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", 1.0, batch_size=1)

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=1.0)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "val_loss"}}


def train(folder, epochs, *callbacks, ckpt_path=None):
    """Return the weight and the rate after training."""
    module = Plateau()
    trainer = Trainer(
        max_epochs=epochs,
        callbacks=[*callbacks, LastCheckpoint(folder / "last.ckpt")],
        logger=False,
        accelerator="cpu",
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = DataLoader(torch.zeros(1, 1), batch_size=1)
    trainer.fit(module, loader, loader, ckpt_path=ckpt_path, weights_only=True)
    return module.weight.item(), trainer.optimizers[0].param_groups[0]["lr"]


def test_continued_run_equals_whole_run(tmp_path):
    (tmp_path / "whole").mkdir()
    whole = train(tmp_path / "whole", 4, PlateauSteps())
    assert whole == (1 + 1 + 0.5 + 0.25, 0.125), "the first epoch sets the reference"
    train(tmp_path, 2, PlateauSteps())
    last = tmp_path / "last.ckpt"
    train(tmp_path, 3, PlateauSteps(), ckpt_path=last)
    assert train(tmp_path, 4, PlateauSteps(), ckpt_path=last) == whole


def test_lightning_alone_misses_step(tmp_path):
    """If this fails, Lightning has been mended and `PlateauSteps` can be removed."""
    train(tmp_path, 2)
    assert train(tmp_path, 4, ckpt_path=tmp_path / "last.ckpt") != train(tmp_path, 4)


def test_state_is_empty_without_due_step():
    assert PlateauSteps().state_dict() == {}
