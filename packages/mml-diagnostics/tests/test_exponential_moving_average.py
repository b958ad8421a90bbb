"""The average is that of the formula, validation sees it, a resumed run goes on from the raw weights."""

import pytest
import torch
from mml_diagnostics import ExponentialMovingAverageCallback
from pytorch_lightning import LightningModule
from torch import nn
from torch.utils.data import DataLoader


class Line(LightningModule):
    """Adds one to its weight each step."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1))
        self.validated, self.trained = [], []

    def training_step(self, batch, batch_idx):
        self.trained.append(float(self.w.detach()))
        return -self.w.sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1.0)


class Validated(Line):
    def validation_step(self, batch, batch_idx):
        self.validated.append(float(self.w))


def average(steps, decay):
    """Raw weights 1, 2, ...; the first of them starts the average."""
    value = 1.0
    for step in range(2, steps + 1):
        value = decay * value + (1 - decay) * step
    return value


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_average_validation_and_resume(make_trainer, tmp_path):
    data = DataLoader(torch.zeros(4, 1))
    model = Validated()
    trainer = make_trainer(ExponentialMovingAverageCallback(decay=0.5), num_sanity_val_steps=0, max_epochs=2)
    trainer.fit(model, data, DataLoader(torch.zeros(1, 1)))
    assert model.trained == list(range(8))  # training goes on from the raw weights
    assert model.validated == pytest.approx([average(4, 0.5), average(8, 0.5)])
    assert model.w.item() == pytest.approx(average(8, 0.5))


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.filterwarnings("ignore:.*dataloader is not resumable")
def test_a_resumed_run_goes_on_from_the_raw_weights(make_trainer, tmp_path):
    class Saves(Line):
        def on_train_batch_end(self, outputs, batch, batch_idx):
            if self.global_step == 3:
                self.trainer.save_checkpoint(tmp_path / "last.ckpt")

    data = DataLoader(torch.zeros(4, 1))
    make_trainer(ExponentialMovingAverageCallback(decay=0.5)).fit(Saves(), data)
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert float(saved["state_dict"]["w"]) != 3.0
    resumed = Line()
    trainer = make_trainer(ExponentialMovingAverageCallback(decay=0.5), max_epochs=2)
    trainer.fit(resumed, data, ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert resumed.trained[0] == 3.0


@pytest.mark.parametrize("decay", [-0.1, 1.1, float("nan")])
def test_decay_out_of_range(decay):
    with pytest.raises(ValueError, match="decay is"):
        ExponentialMovingAverageCallback(decay)


def test_unknown_level():
    with pytest.raises(ValueError, match='verbose is "LOUD"'):
        ExponentialMovingAverageCallback(verbose="LOUD")
