"""The average equals the formula and is used for validation. A resumed run continues from the raw weights."""

import pytest
import torch
from mml_diagnostics import ExponentialMovingAverageCallback
from pytorch_lightning import LightningModule
from torch import nn
from torch.utils.data import DataLoader


class Line(LightningModule):
    """Module that adds one to its weight in each step."""

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
    """Average the raw weights 1, 2, ..., starting from the first one."""
    value = 1.0
    for step in range(2, steps + 1):
        value = decay * value + (1 - decay) * step
    return value


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_average_equals_formula_and_survives_resume(make_trainer, tmp_path):
    data = DataLoader(torch.zeros(4, 1))
    model = Validated()
    trainer = make_trainer(ExponentialMovingAverageCallback(decay=0.5), num_sanity_val_steps=0, max_epochs=2)
    trainer.fit(model, data, DataLoader(torch.zeros(1, 1)))
    assert model.trained == list(range(8))  # training goes on from the raw weights
    assert model.validated == pytest.approx([average(4, 0.5), average(8, 0.5)])
    assert model.w.item() == pytest.approx(average(8, 0.5))


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.filterwarnings("ignore:.*dataloader is not resumable")
def test_resume_restores_raw_weights(make_trainer, tmp_path):
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


class Constants(Line):
    """Module with constants and counts, which are copied, and running statistics, which are averaged."""

    def __init__(self):
        super().__init__()
        energies = -1e5 * torch.rand(1000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        self.register_buffer("energies", energies)
        self.register_buffer("single", energies.float())
        self.register_buffer("missing", torch.full((2,), torch.inf))
        self.register_buffer("flags", torch.tensor([True, False]))
        self.register_buffer("grid", torch.linspace(0, 5, 100), persistent=False)
        self.norm = nn.BatchNorm1d(1)

    def training_step(self, batch, batch_idx):
        self.norm(torch.tensor([[0.0], [4.0]]))
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx):
        self.validated.append((float(self.w), int(self.norm.num_batches_tracked)))


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.997, 1.0])
def test_constants_and_counts_are_copied(make_trainer, decay):
    model, untouched = Constants(), Constants()
    callback = ExponentialMovingAverageCallback(decay)
    trainer = make_trainer(callback, num_sanity_val_steps=0, max_epochs=20)
    trainer.fit(model, DataLoader(torch.zeros(4, 1)), DataLoader(torch.zeros(1, 1)))
    for name in ("energies", "single", "missing", "flags", "grid"):
        assert torch.equal(getattr(model, name), getattr(untouched, name)), name
        assert getattr(model, name).dtype == getattr(untouched, name).dtype
    assert [count for _, count in model.validated] == list(range(4, 84, 4))
    mean, raw = 0.2, 0.2  # of batch norm: a tenth of the batch's mean, 2, at the first step
    for _ in range(79):
        raw = 0.9 * raw + 0.1 * 2
        mean = decay * mean + (1 - decay) * raw
    assert model.norm.running_mean.item() == pytest.approx(mean, rel=1e-5)


@pytest.mark.parametrize("precision", ["32-true", "64-true", "bf16-true"])
def test_average_is_at_least_float32(make_trainer, tmp_path, precision):
    """Half precision is too coarse for the steps, and float64 weights require a float64 average."""
    data = DataLoader(torch.zeros(4, 1))
    trainer = make_trainer(ExponentialMovingAverageCallback(0.99), precision=precision)
    trainer.fit(model := Line(), data)
    dtype = {"64-true": torch.float64}.get(precision, torch.float32)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert saved["state_dict"]["w"].dtype == dtype
    assert saved["state_dict"]["w"].item() == pytest.approx(average(4, 0.99), rel=1e-6)
    assert saved["current_model_state"]["w"].item() == 4.0
    assert torch.equal(model.w.detach(), saved["state_dict"]["w"].to(model.w.dtype))


def test_run_that_ends_early_keeps_live_weights(make_trainer):
    model = Line()
    trainer = make_trainer(ExponentialMovingAverageCallback(0.5, update_starting_at_step=4))
    trainer.fit(model, DataLoader(torch.zeros(4, 1)))
    assert model.w.item() == 4.0


@pytest.mark.parametrize("decay", [-0.1, 1.1, float("nan")])
def test_invalid_decay_is_rejected(decay):
    with pytest.raises(ValueError, match="decay must be"):
        ExponentialMovingAverageCallback(decay)


@pytest.mark.parametrize(
    "name", ["update_every_n_steps", "update_starting_at_step", "update_starting_at_epoch"]
)
def test_invalid_numbers_are_rejected(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 0, got -1"):
        ExponentialMovingAverageCallback(**{name: -1})


def test_unknown_level_is_rejected():
    with pytest.raises(ValueError, match="got 'LOUD'"):
        ExponentialMovingAverageCallback(verbose="LOUD")
