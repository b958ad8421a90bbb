"""ModelAutocorrelation in whole runs: it warns before a spike, and not in a healthy run."""

import csv

import pytest
import torch
from mml_diagnostics import ModelAutocorrelation
from mml_diagnostics.spikes.spectra import CSV_FILE, PNG_FILE
from pytorch_lightning import LightningModule
from pytorch_lightning.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader


class Regression(LightningModule):
    def __init__(self, lr, betas=(0.9, 0.999)):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 1))
        self.lr, self.betas, self.losses = lr, betas, []

    def training_step(self, batch, batch_idx):
        loss = nn.functional.mse_loss(self.net(batch[0]), batch[1])
        self.losses.append(loss.item())
        return loss

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.lr, betas=self.betas)


def data(batch_size=64, noise=0.0, repeats=380):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 8, generator=generator)
    y = torch.tanh(x @ torch.randn(8, 1, generator=generator)) + noise * torch.randn(
        64, 1, generator=generator
    )
    if batch_size == 64:
        return [(x, y)] * repeats
    return [
        (x[i], y[i]) for i in (torch.randperm(64, generator=generator)[:batch_size] for _ in range(repeats))
    ]


def first_spike(losses):
    """Return the first step with a loss above ten times the median of the 50 losses before it."""
    for step in range(50, len(losses)):
        if losses[step] > 10 * sorted(losses[step - 50 : step])[25]:
            return step
    return None


def warnings_of(callback):
    return [f for f in callback.findings if f.severity == "warning"]


@pytest.mark.parametrize("sampled", [True, False])
def test_warning_precedes_spike(make_trainer, sampled):
    callback, model = ModelAutocorrelation(sampled=sampled, analyze_every_n_steps=10), Regression(lr=0.02)
    make_trainer(callback).fit(model, DataLoader(data(), batch_size=None))
    (finding,) = warnings_of(callback)
    assert finding.check == "adam_unstable_preconditioner"
    spike = first_spike(model.losses)
    assert 5 <= spike - finding.first_step <= 100


@pytest.mark.parametrize(
    ("lr", "options"),
    [
        (1e-3, {}),
        (5e-3, {}),
        (1e-3, {"batch_size": 16, "noise": 0.3}),
        (5e-3, {"batch_size": 16, "noise": 0.3}),
    ],
)
def test_healthy_run_has_no_warning(make_trainer, lr, options):
    callback, model = ModelAutocorrelation(sampled=False, analyze_every_n_steps=10), Regression(lr)
    make_trainer(callback).fit(model, DataLoader(data(**options), batch_size=None))
    assert first_spike(model.losses) is None
    assert warnings_of(callback) == []
    assert not callback.switched_off


def test_spectra_reach_files_and_loggers(make_trainer, make_task, samples, make_loader, tmp_path):
    logger = CSVLogger(tmp_path, name="csv")
    callback = ModelAutocorrelation(analyze_every_n_steps=30)
    trainer = make_trainer(callback, max_epochs=16, logger=logger, log_every_n_steps=1)
    trainer.fit(make_task(), make_loader(samples))
    directory = tmp_path / "csv" / "version_0"
    with (directory / CSV_FILE).open() as file:
        rows = list(csv.DictReader(file))
    assert [len([r for r in rows if r["step"] == s]) for s in ("30", "60")] == [3 * 30, 3 * 60]
    last = [r for r in rows if (r["step"], r["kind"]) == ("60", "updates")]
    assert [float(r["mean"]) for r in last] == pytest.approx(
        callback.spectra["updates"].mean.tolist(), abs=1e-5
    )
    pytest.importorskip("matplotlib")
    assert (directory / PNG_FILE).read_bytes().startswith(b"\x89PNG")
    with (directory / "metrics.csv").open() as file:
        logged = [r for r in csv.DictReader(file) if r.get("autocorrelation/updates_time")]
    assert [int(r["step"]) for r in logged] == [30, 60]
    assert {
        "adam/least_decoupling",
        "adam/sharpness",
        "adam/spike_height",
        "autocorrelation/gradients_lag1",
    } <= set(logged[0])


@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.NAdam, torch.optim.RAdam])
def test_variants_of_adam_are_supported(make_trainer, make_task, task_class, samples, make_loader, optimizer):
    class Other(task_class):
        def configure_optimizers(self):
            return optimizer(self.parameters(), lr=1e-3)

    callback = ModelAutocorrelation(analyze_every_n_steps=30)
    make_trainer(callback, max_epochs=8).fit(make_task(Other), make_loader(samples))
    assert set(callback.spectra) == {"parameters", "gradients", "updates"}
    assert not callback.switched_off


def test_optimizer_without_moments_is_reported(
    make_trainer, make_task, task_class, samples, make_loader, caplog
):
    class Plain(task_class):
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=1e-3)

    callback = ModelAutocorrelation(analyze_every_n_steps=30)
    make_trainer(callback, max_epochs=8).fit(make_task(Plain), make_loader(samples))
    assert set(callback.spectra) == {"parameters", "gradients"}
    assert "SGD has no moments like Adam's" in caplog.text
    assert caplog.text.count("SGD") == 1


@pytest.mark.filterwarnings("ignore:.*will run with no optimizer")
@pytest.mark.filterwarnings("ignore:.*returned `None`")
def test_frozen_parameters_are_left_out(make_trainer, make_task, samples, make_loader, caplog):
    task = make_task()
    for p in task.encoder.parameters():
        p.requires_grad_(False)
    callback = ModelAutocorrelation(sampled=False, analyze_every_n_steps=30)
    make_trainer(callback, max_epochs=8).fit(task, make_loader(samples))
    heads = sum(p.numel() for p in task.output_heads.parameters())
    assert callback.spectra["parameters"].num_series == heads
    assert not callback.switched_off

    class Empty(LightningModule):
        def training_step(self, batch, batch_idx):
            return None

        def configure_optimizers(self):
            return None

    callback = ModelAutocorrelation()
    make_trainer(callback).fit(Empty(), make_loader(samples))
    assert "has no parameter that is trained" in caplog.text
    assert not callback.switched_off


def test_lazy_parameters_are_supported(make_trainer, make_task, task_class, samples, make_loader):
    class Lazy(task_class):
        def __init__(self):
            super().__init__()
            self.output_heads = nn.ModuleDict({"energy": nn.LazyLinear(1)})

    callback = ModelAutocorrelation(sampled=False, analyze_every_n_steps=30)
    make_trainer(callback, max_epochs=8).fit(make_task(Lazy), make_loader(samples))
    assert callback.spectra["parameters"].num_series > 0
    assert not callback.switched_off


def test_module_without_loss_is_reported(make_trainer, caplog):
    class Manual(LightningModule):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False
            self.table = nn.Embedding(10, 4, sparse=True)

        def training_step(self, batch, batch_idx):
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(self.table(batch).square().mean())
            optimizer.step()

        def configure_optimizers(self):
            return torch.optim.SparseAdam(self.parameters())

    callback = ModelAutocorrelation(sampled=False, analyze_every_n_steps=10)
    make_trainer(callback).fit(Manual(), DataLoader([torch.tensor([1, 2])] * 40, batch_size=None))
    assert not callback.switched_off
    assert callback.spectra["gradients"].num_series == 40
    assert callback.spectra["gradients"].num_moving == 8
    assert caplog.text.count("training_step returns no loss, so that spikes are not foreseen") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"buffer_size": 1}, "buffer_size must be .*got 1"),
        ({"sample_frac": 0.0}, "sample_frac must be greater than 0 and at most 1, got 0.0"),
        ({"sample_frac": 1.5}, "sample_frac must be .*got 1.5"),
        ({"sample_frac": float("nan")}, "sample_frac must be .*got nan"),
        ({"analyze_every_n_steps": 0}, "analyze_every_n_steps must be .*got 0"),
    ],
)
def test_invalid_options_are_rejected(options, message):
    with pytest.raises(ValueError, match=message):
        ModelAutocorrelation(**options)


@pytest.mark.parametrize(
    "options", [{"fast_dev_run": True}, {"overfit_batches": 2}, {"accumulate_grad_batches": 2}]
)
def test_short_runs_succeed(make_trainer, make_task, samples, make_loader, options):
    callback = ModelAutocorrelation(analyze_every_n_steps=1, buffer_size=4)
    make_trainer(callback, **options).fit(make_task(), make_loader(samples))
    assert not callback.switched_off


def test_findings_survive_resume(make_trainer, tmp_path):
    first = ModelAutocorrelation(sampled=False, analyze_every_n_steps=10)
    trainer = make_trainer(first)
    trainer.fit(Regression(0.02), DataLoader(data(), batch_size=None))
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    second = ModelAutocorrelation()
    trainer = make_trainer(second, max_epochs=2, limit_train_batches=2)
    trainer.fit(
        Regression(0.02),
        DataLoader(data(), batch_size=None),
        ckpt_path=tmp_path / "last.ckpt",
        weights_only=True,
    )
    assert warnings_of(second) == warnings_of(first)
    assert warnings_of(first)
