"""GradientCheckCallback in real trainings, with and without a defect."""

import json
import logging
import subprocess
import sys

import pytest
import torch
from mml_diagnostics import GradientCheckCallback
from pytorch_lightning import LightningModule
from pytorch_lightning.plugins import MixedPrecision
from torch import nn


class InfInBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        gradient = gradient.clone()
        gradient[0, 0] = torch.inf
        return gradient


@pytest.fixture
def inf_class(task_class):
    class InfTask(task_class):
        def embed(self, batch):
            return InfInBackward.apply(super().embed(batch))

    return InfTask


def by_check(callback, check):
    return [finding for finding in callback.findings if finding.check == check]


def all_finite(module):
    return all(bool(torch.isfinite(p).all()) for p in module.parameters())


def test_healthy_training_logs_no_warning(samples, make_loader, make_task, make_trainer, caplog, tmp_path):
    callback = GradientCheckCallback()
    make_trainer(callback, max_epochs=3).fit(make_task(), make_loader(samples))
    assert callback.steps_checked == 12
    assert callback.steps_non_finite == 0
    assert [f for f in callback.findings if f.severity != "info"] == []
    assert [r for r in caplog.records if r.name.startswith("mml") and r.levelno >= logging.WARNING] == []
    content = json.loads((tmp_path / "findings.json").read_text())
    assert list(content) == ["findings"]


def test_nan_target_names_sample(samples, make_loader, make_task, make_trainer, caplog, tmp_path):
    samples[13]["targets"]["energy"].fill_(torch.nan)
    callback = GradientCheckCallback()
    task = make_task()
    make_trainer(callback, max_epochs=2).fit(task, make_loader(samples))
    (finding,) = by_check(callback, "non_finite_gradient")
    assert finding.where == "sample 'test/000013'"
    assert (finding.severity, finding.count, finding.first_step, finding.last_step) == ("error", 2, 1, 5)
    for part in (
        "NaN in the gradients of 9 of 9 parameters",
        "encoder.embedding.weight",
        "step 1",
        "batch 1",
    ):
        assert part in finding.message
    assert "targets.energy of sample 'test/000013'" in finding.message
    assert all(f"test/{i:06d}" in finding.message for i in range(8, 16))
    assert callback.steps_non_finite == 2
    assert all_finite(task)
    said = [r for r in caplog.records if "non_finite_gradient" in r.getMessage()]
    assert len(said) == 2  # the first time, and how often in the end
    assert said[1].getMessage().endswith("[sample 'test/000013'] 2 times, steps 1 to 5.")
    assert json.loads((tmp_path / "findings.json").read_text())["findings"][0]["count"] == 2


def test_inf_names_layer_and_is_zeroed(samples, make_loader, make_trainer, make_task, inf_class):
    seen = {}

    class Look(GradientCheckCallback):
        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            before = {n: p.grad.clone() for n, p in pl_module.named_parameters()}
            super().on_before_optimizer_step(trainer, pl_module, optimizer)
            seen.update({n: (before[n], p.grad.clone()) for n, p in pl_module.named_parameters()})

    callback = Look()
    task = make_task(inf_class)
    make_trainer(callback, max_steps=1).fit(task, make_loader(samples))
    (finding,) = by_check(callback, "non_finite_gradient")
    assert (
        finding.where == "encoder.update.bias"
    )  # the last layer before the fault, in the direction of the forward pass
    assert "Inf" in finding.message
    assert "output_heads" not in finding.message
    for before, after in seen.values():
        assert torch.equal(after, torch.where(torch.isfinite(before), before, 0.0))
    assert not all(bool(torch.isfinite(before).all()) for before, _ in seen.values())
    assert all_finite(task)


def test_gradients_are_kept_without_zeroing(samples, make_loader, make_trainer, make_task, inf_class):
    callback = GradientCheckCallback(zero_non_finite=False)
    task = make_task(inf_class)
    make_trainer(callback, max_steps=1).fit(task, make_loader(samples))
    assert "zero_non_finite=False" in by_check(callback, "non_finite_gradient")[0].advice
    assert not all_finite(task)


def test_all_accumulated_batches_are_searched(samples, make_loader, make_task, make_trainer):
    samples[3]["pos"][0, 0] = torch.inf
    callback = GradientCheckCallback()
    make_trainer(callback, accumulate_grad_batches=2).fit(make_task(), make_loader(samples))
    (finding,) = by_check(callback, "non_finite_gradient")
    assert finding.where == "sample 'test/000003'"
    assert finding.first_step == finding.last_step == 0
    assert "batch 0" in finding.message
    assert "batch 1" in finding.message
    assert "pos of sample 'test/000003'" in finding.message
    assert callback.steps_checked == 2


def test_small_gradients_are_counted(samples, make_loader, make_task, make_trainer, caplog):
    callback = GradientCheckCallback(thres=1e6)
    with caplog.at_level(logging.INFO, logger="mml_diagnostics"):
        make_trainer(callback).fit(make_task(), make_loader(samples))
    (finding,) = callback.findings
    assert (finding.check, finding.severity, finding.count) == ("small_gradients", "info", 4)
    assert "On 4 of 4 checked steps" in finding.message
    assert "(4)" in finding.message
    assert callback.small_counts["encoder.message.weight"] == 4
    assert len([r for r in caplog.records if "small_gradients" in r.getMessage()]) == 2
    quiet = GradientCheckCallback(thres=0)
    make_trainer(quiet).fit(make_task(), make_loader(samples))
    assert quiet.findings == []


def test_threshold_applies_to_gradients(samples, make_loader, make_task, make_trainer):
    task = make_task()
    for p in task.parameters():
        p.data.mul_(1e-6)
    task.output_heads["energy"][2].bias.data.fill_(1.0)
    callback = GradientCheckCallback(thres=1e-3)
    make_trainer(callback, max_steps=1).fit(task, make_loader(samples))
    assert "output_heads.energy.2.bias" not in callback.small_counts
    assert "encoder.update.weight" in callback.small_counts


def test_num_steps_ends_checks(samples, make_loader, make_task, make_trainer):
    samples[30]["targets"]["energy"].fill_(torch.nan)
    callback = GradientCheckCallback(num_steps=2)
    make_trainer(callback).fit(make_task(), make_loader(samples))
    assert callback.steps_checked == 2
    assert by_check(callback, "non_finite_gradient") == []


def test_check_reads_device_once_per_step(samples, make_loader, make_task, make_trainer, monkeypatch):
    transfers = []
    for method in ("item", "tolist", "__bool__", "__float__", "cpu", "nonzero"):
        original = getattr(torch.Tensor, method)
        monkeypatch.setattr(
            torch.Tensor,
            method,
            lambda self, *a, _o=original, _m=method, **k: (transfers.append(_m), _o(self, *a, **k))[1],
        )
    counts = []

    class Count(GradientCheckCallback):
        def on_before_optimizer_step(self, *args):
            transfers.clear()
            super().on_before_optimizer_step(*args)
            counts.append(list(transfers))

    make_trainer(Count()).fit(make_task(), make_loader(samples))
    assert counts == [["tolist"]] * 4


def test_optimizers_are_checked_separately(samples, make_loader, make_trainer, make_task, inf_class):
    class Manual(inf_class):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch, batch_idx):
            self.manual_backward(super().training_step(batch, batch_idx))
            for optimizer in self.optimizers():
                optimizer.step()
                optimizer.zero_grad()

        def configure_optimizers(self):
            return [torch.optim.SGD(part.parameters(), lr=0.1) for part in (self.output_heads, self.encoder)]

    callback = GradientCheckCallback()
    task = make_task(Manual)
    make_trainer(callback).fit(task, make_loader(samples))
    assert callback.steps_checked == 8
    assert callback.steps_non_finite == 4
    (finding,) = by_check(callback, "non_finite_gradient")
    assert "of 5 parameters" in finding.message
    assert all_finite(task)


def test_sparse_gradients_are_zeroed(make_trainer):
    class Sparse(LightningModule):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(5, 2, sparse=True)

        def training_step(self, batch, batch_idx):
            return (self.table(batch[0]).sum(dim=1) * batch[1]).sum()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    module, callback = Sparse(), GradientCheckCallback()
    x, y = torch.tensor([0, 1, 1, 2]), torch.tensor([1.0, torch.nan, 1.0, 1.0])
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=4)
    make_trainer(callback, max_steps=1).fit(module, loader)
    (finding,) = by_check(callback, "non_finite_gradient")
    assert finding.where == "row 1 of batch[1]"
    assert all_finite(module)
    assert not callback.switched_off


def make_scaler(scale):
    return MixedPrecision(
        "16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=10**6)
    )


def test_scaler_overflow_is_not_reported(samples, make_loader, make_trainer, make_task, task_class):
    class Wide(task_class):
        def training_step(self, batch, batch_idx):
            with torch.autocast("cpu", enabled=False):
                return super().training_step(batch, batch_idx)

    for sample in samples:
        sample["targets"]["energy"].mul_(20.0)
    callback = GradientCheckCallback()
    plugin = make_scaler(2.0**127)
    make_trainer(callback, plugins=plugin, max_epochs=2).fit(make_task(Wide), make_loader(samples))
    assert plugin.scaler.get_scale() < 2.0**127  # it did overflow
    assert by_check(callback, "non_finite_gradient") == []
    assert not callback.switched_off


def test_nan_is_reported_with_gradient_scaler(samples, make_loader, make_trainer, make_task):
    samples[0]["targets"]["energy"].fill_(torch.nan)
    callback = GradientCheckCallback()
    task = make_task()
    make_trainer(callback, plugins=make_scaler(4.0)).fit(task, make_loader(samples))
    (finding,) = by_check(callback, "non_finite_gradient")
    assert finding.where == "sample 'test/000000'"
    assert "scaler skips" in finding.advice
    assert all_finite(task)


def test_inf_at_smallest_scale_is_reported(samples, make_loader, make_trainer, make_task, inf_class):
    callback = GradientCheckCallback()
    task = make_task(inf_class)
    make_trainer(callback, plugins=make_scaler(4.0)).fit(task, make_loader(samples))
    (finding,) = by_check(callback, "non_finite_gradient")
    assert (finding.where, finding.first_step, finding.count) == ("encoder.update.bias", 2, 2)
    assert all_finite(task)


def test_small_norms_use_unscaled_gradients(samples, make_loader, make_trainer, make_task, task_class):
    class Fused(task_class):
        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), fused=True)

    norms = {}
    for name, cls, plugins in (("plain", task_class, None), ("fused", Fused, make_scaler(2.0**8))):
        callback = GradientCheckCallback(thres=1e-2)
        task = make_task(cls)
        task.output_heads["energy"][2].weight.data.mul_(1e-3)
        make_trainer(callback, plugins=plugins, max_steps=1).fit(task, make_loader(samples))
        norms[name] = set(callback.small_counts)
        assert not callback.switched_off
    assert norms["plain"] == norms["fused"] != set()


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"thres": -1.0}, r"thres must be .*got -1.0"),
        ({"thres": float("nan")}, r"thres must be .*got nan"),
        ({"num_steps": 0}, r"num_steps must be .*got 0"),
        ({"num_steps": -2}, r"num_steps must be .*got -2"),
        ({"patience": 0}, r"patience must be .*got 0"),
        ({"dump_dir": __file__}, r"dump_dir must be a directory, but .* is a file"),
    ],
)
def test_invalid_options_are_rejected(kwargs, message):
    with pytest.raises(ValueError, match=message):
        GradientCheckCallback(**kwargs)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_patience_stops_run(samples, make_loader, make_task, make_trainer, caplog, accumulate):
    for i in (1, 17, 25, 31):  # batches 0, 2, 3
        samples[i]["targets"]["energy"].fill_(torch.nan)
    callback = GradientCheckCallback(patience=3)
    trainer = make_trainer(callback, max_epochs=5, accumulate_grad_batches=accumulate)
    trainer.fit(make_task(), make_loader(samples))
    # one by one: bad, good, bad, bad, bad (the next epoch); in pairs all are bad
    assert trainer.global_step == (5 if accumulate == 1 else 3)
    (finding,) = by_check(callback, "stopped_by_gradient_check")
    assert (finding.severity, finding.count) == ("error", 1)
    assert f"not finite 3 times in a row, and on {4 if accumulate == 1 else 3} of" in finding.message
    assert "sample 'test/000017'" in finding.message


def test_patience_counts_consecutive_steps(samples, make_loader, make_task, make_trainer):
    samples[1]["targets"]["energy"].fill_(torch.nan)
    callback = GradientCheckCallback(patience=2)
    trainer = make_trainer(callback, max_epochs=5)
    trainer.fit(make_task(), make_loader(samples))
    assert trainer.global_step == 20
    assert callback.steps_non_finite == 5


def test_streaks_survive_resume(samples, make_loader, make_task, make_trainer, tmp_path):
    for sample in samples:
        sample["targets"]["energy"].fill_(torch.nan)
    trainer = make_trainer(GradientCheckCallback(patience=6))
    trainer.fit(make_task(), make_loader(samples))
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    trainer = make_trainer(GradientCheckCallback(patience=6), max_epochs=9)
    trainer.fit(make_task(), make_loader(samples), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert trainer.global_step == 6


def test_verbose_logs_each_event(samples, make_loader, make_task, make_trainer, caplog):
    samples[13]["targets"]["energy"].fill_(torch.nan)
    make_trainer(GradientCheckCallback(verbose=True), max_epochs=3).fit(make_task(), make_loader(samples))
    said = [r for r in caplog.records if "NaN in the gradients" in r.getMessage()]
    assert len(said) == 3


def test_counts_survive_resume(samples, make_loader, make_task, make_trainer, tmp_path):
    samples[13]["targets"]["energy"].fill_(torch.nan)
    first = GradientCheckCallback()
    trainer = make_trainer(first, max_epochs=2)
    trainer.fit(make_task(), make_loader(samples))
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    torch.load(tmp_path / "last.ckpt", weights_only=True)
    second = GradientCheckCallback()
    make_trainer(second, max_epochs=3).fit(
        make_task(), make_loader(samples), ckpt_path=tmp_path / "last.ckpt", weights_only=True
    )
    (finding,) = by_check(second, "non_finite_gradient")
    assert (finding.count, finding.first_step, finding.last_step) == (3, 1, 9)
    assert (second.steps_checked, second.steps_non_finite) == (12, 3)


@pytest.mark.parametrize("options", [{"fast_dev_run": True}, {"overfit_batches": 1}])
def test_special_runs_succeed(samples, make_loader, make_task, make_trainer, tmp_path, caplog, options):
    callback = GradientCheckCallback()
    make_trainer(callback, **options).fit(make_task(), make_loader(samples))
    assert callback.steps_checked == 1
    assert not callback.switched_off
    assert (tmp_path / "findings.json").exists() == ("overfit_batches" in options)
    assert [r for r in caplog.records if r.name.startswith("mml") and r.levelno >= logging.WARNING] == []


@pytest.mark.skipif(sys.platform != "linux", reason="the trainer starts ranks by fork")
def test_two_ranks_stop_at_same_step(tmp_path):
    script = tmp_path / "ranks.py"
    script.write_text(RANKS.replace("y[2] = ", "y[2:] = ").replace("thres=0", "thres=0, patience=2"))
    command = [sys.executable, "-W", "ignore", str(script), str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    weights = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert torch.equal(*weights)
    findings = {f["check"]: f for f in json.loads((tmp_path / "findings.json").read_text())["findings"]}
    assert findings["stopped_by_gradient_check"]["first_step"] == 2  # of four


@pytest.mark.skipif(sys.platform != "linux", reason="the trainer starts ranks by fork")
def test_two_ranks_zero_same_gradients(tmp_path):
    """The script runs in a separate process, because its ranks are forked."""
    script = tmp_path / "ranks.py"
    script.write_text(RANKS)
    result = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    weights = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert torch.equal(*weights)
    assert bool(torch.isfinite(weights[0]).all())
    assert "On this rank:" in result.stderr
    assert "row 0 of batch[1]" in result.stderr
    (finding,) = json.loads((tmp_path / "findings.json").read_text())["findings"]
    assert finding["check"] == "non_finite_gradient"
    assert finding["count"] == 1


RANKS = """
import sys

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from mml_diagnostics import GradientCheckCallback


class Module(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def training_step(self, batch, batch_idx):
        return nn.functional.mse_loss(self.layer(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def train_dataloader(self):
        x, y = torch.randn(8, 2), torch.randn(8, 1)
        if self.global_rank == 1:
            y[2] = torch.nan
        return DataLoader(TensorDataset(x, y), batch_size=2)

    def on_train_end(self):
        weights = torch.cat([p.detach().flatten() for p in self.parameters()])
        torch.save(weights, f"{sys.argv[1]}/rank{self.global_rank}.pt")


torch.manual_seed(0)
torch.set_num_threads(1)
trainer = Trainer(
    accelerator="cpu", devices=2, strategy="ddp_fork", max_epochs=1, logger=False,
    enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    default_root_dir=sys.argv[1], use_distributed_sampler=False,
    callbacks=[GradientCheckCallback(thres=0)],
)
trainer.fit(Module())
"""
