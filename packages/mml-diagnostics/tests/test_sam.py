"""SAM, compared with its formula, and side effects that it must not have."""

import copy
from types import SimpleNamespace

import pytest
import torch
import torchmetrics
from mml_diagnostics import SAM, ManualGradientClip
from pytorch_lightning import Callback, LightningModule
from torch import nn
from torch.utils.data import DataLoader


class Quadratic(LightningModule):
    """Module with the loss w A w / 2, averaged over the matrices A of a batch, and plain gradient descent."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64))
        self.norm = nn.BatchNorm1d(3, dtype=torch.float64)
        self.norm.requires_grad_(False)
        self.counter = SimpleNamespace(passes=0)  # numbers of the module itself are put back
        self.used = []

    @property
    def calls(self):
        return self.counter.passes

    def training_step(self, batch, batch_idx):
        self.counter.passes += 1
        self.norm(batch[0] if batch.ndim == 3 else batch)
        self.log("calls", float(self.calls))
        return self.w @ batch.mean(0) @ self.w / 2

    def on_before_optimizer_step(self, optimizer):
        pass

    def optimizer_step(self, *args, **kwargs):
        super().optimizer_step(*args, **kwargs)
        self.used.append(self.w.grad.clone())

    def configure_optimizers(self):
        return torch.optim.SGD([self.w], lr=0.1)


def matrices(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(count, 2, 3, 3, generator=generator, dtype=torch.float64)
    return a @ a.mT


def by_hand(batches, rho, adaptive, clip=None, per_step=1):
    """Return w after each step, computed from the explicit gradients of the quadratic."""
    w = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    out = []
    for i in range(0, len(batches), per_step):
        a = batches[i : i + per_step].mean((0, 1))
        g = a @ w
        e = rho * w.square() * g / (w.abs() * g).norm() if adaptive else rho * g / g.norm()
        g = a @ (w + e)
        if clip:
            g = g * min(1.0, clip / (float(g.norm()) + 1e-6))
        w = w - 0.1 * g
        out.append(w)
    return out


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize(
    ("options", "extra"), [({}, ()), ({"gradient_clip_val": 0.3}, ()), ({}, (ManualGradientClip(0.3),))]
)
@pytest.mark.parametrize("per_step", [1, 2])
def test_step_equals_formula(make_trainer, adaptive, options, extra, per_step):
    model, batches = Quadratic(), matrices(4)
    clip = 0.3 if options or extra else None
    callbacks = SAM(rho=0.1, adaptive=adaptive), *extra
    trainer = make_trainer(*callbacks, accumulate_grad_batches=per_step, **options)
    trainer.fit(model, DataLoader(batches, batch_size=None))
    expected = by_hand(batches, 0.1, adaptive, clip, per_step)
    assert torch.allclose(model.w, expected[-1], rtol=1e-6)
    assert model.calls == 8
    # the plain gradient leads elsewhere
    assert not torch.allclose(model.w, by_hand(batches, 1e-9, adaptive, clip, per_step)[-1], rtol=1e-4)


def test_second_pass_does_not_log(make_trainer):
    model, batches = Quadratic(), matrices(4)
    trainer = make_trainer(SAM(), max_epochs=1)
    trainer.fit(model, DataLoader(batches, batch_size=None))
    assert trainer.callback_metrics["calls"] == 7.0  # passes 1, 3, 5, 7
    assert int(model.norm.num_batches_tracked) == 4
    assert "log" not in model.__dict__


class Remembers(LightningModule):
    """Module with dropout and many kinds of state: metrics, lists, numbers, tensors and buffers."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.dropout = nn.Linear(3, 1), nn.Dropout(0.5)
        self.metrics = nn.ModuleDict(
            {
                "mean": torchmetrics.MeanMetric(),
                "cat": torchmetrics.CatMetric(),
                "running": torchmetrics.RunningMean(window=2),
            }
        )
        self.collection = torchmetrics.MetricCollection([torchmetrics.MeanSquaredError()])
        self.register_buffer("scale", torch.ones(1))
        self.losses, self.last_losses, self.steps, self.total = [], {}, 0, torch.zeros(())
        self.masks = SimpleNamespace(seen=[])

    def training_step(self, batch, batch_idx):
        x = self.dropout(batch)
        self.masks.seen.append((x == 0).tolist())
        y = self.layer(x)
        loss = y.square().mean() + y.mean()
        for metric in self.metrics.values():
            metric.update(loss.detach())
        self.collection(y.detach(), torch.zeros_like(y))
        self.scale.mul_(1.1)
        self.losses.append(loss.item())
        self.last_losses["all"] = loss.item()
        self.total += loss.detach()
        self.steps += 1
        self.log("loss", self.metrics["mean"], on_step=False, on_epoch=True)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)  # so that steps see the same weights

    def state(self):
        metrics = [*self.metrics.values(), *self.collection.values()]
        numbers = [(m.update_count, torch.as_tensor(m.compute()).flatten().tolist()) for m in metrics]
        return numbers, self.losses, self.last_losses, self.steps, float(self.total), float(self.scale)


@pytest.mark.filterwarnings("ignore:.*``compute`` method of metric .* was called before")
@pytest.mark.parametrize("per_step", [1, 2])
def test_second_pass_has_no_side_effects(make_trainer, per_step):
    ends = []
    for callbacks in ([], [SAM(rho=1.0)]):
        model = Remembers()
        seen = []

        class See(Callback):
            def on_train_batch_end(self, trainer, pl_module, *args, seen=seen):
                seen.append(copy.deepcopy(pl_module.state()))

        trainer = make_trainer(*callbacks, See(), accumulate_grad_batches=per_step)
        data = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(1))
        trainer.fit(model, DataLoader(data, batch_size=None))
        ends.append((seen, trainer.callback_metrics["loss"].item(), torch.rand(1).item()))
        masks = model.masks.seen
    assert ends[0] == ends[1]
    assert len(masks) == 8  # each step's batches go through with the masks of the first pass
    for start in range(0, 8, 2 * per_step):
        assert masks[start : start + per_step] == masks[start + per_step : start + 2 * per_step]
    assert masks[0] != masks[2 * per_step]


class InfiniteNearby(Quadratic):
    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return loss if self.calls % 2 else loss * torch.nan


def test_non_finite_second_loss_gives_ordinary_step(make_trainer):
    model, batches = InfiniteNearby(), matrices(4)
    callback = SAM(rho=0.1)
    make_trainer(callback).fit(model, DataLoader(batches, batch_size=None))
    assert callback.steps_fallen_back == 4
    w = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    for a in batches:
        w = w - 0.1 * (a.mean(0) @ w)
    assert torch.allclose(model.w, w, rtol=1e-12)


def test_failed_second_pass_restores_weights(make_trainer):
    class Fails(Quadratic):
        def training_step(self, batch, batch_idx):
            if self.calls == 1:
                raise RuntimeError("out of memory")
            return super().training_step(batch, batch_idx)

    model = Fails()
    with pytest.raises(RuntimeError, match="out of memory"):
        make_trainer(SAM()).fit(model, DataLoader(matrices(2), batch_size=None))
    assert torch.equal(model.w, torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64))


def test_first_steps_are_ordinary(make_trainer):
    model, batches = Quadratic(), matrices(4)
    make_trainer(SAM(skip_step_count=3)).fit(model, DataLoader(batches, batch_size=None))
    assert model.calls == 5
    model = Quadratic()
    make_trainer(SAM(skip_epoch_count=1), max_epochs=2).fit(model, DataLoader(batches, batch_size=None))
    assert model.calls == 12


def test_unsupported_runs_are_rejected(make_trainer):
    class Manual(Quadratic):
        automatic_optimization = False

        def __init__(self):
            super().__init__()
            self.automatic_optimization = False

    with pytest.raises(ValueError, match="manual"):
        make_trainer(SAM()).fit(Manual(), DataLoader(matrices(1), batch_size=None))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rho": 0}, "rho must be .*got 0"),
        ({"rho": float("nan")}, "rho must be .*got nan"),
        ({"skip_step_count": -1}, "skip_step_count must be .*got -1"),
    ],
)
def test_invalid_options_are_rejected(options, message):
    with pytest.raises(ValueError, match=message):
        SAM(**options)


RANKS = """
import sys
import torch
from pathlib import Path
from types import SimpleNamespace
from pytorch_lightning import LightningModule, Trainer
from torch.utils.data import DataLoader
from mml_diagnostics import SAM, LossSpikeDetection

rank = int(__import__("os").environ["LOCAL_RANK"])


class Quadratic(LightningModule):
    def __init__(self, mode):
        super().__init__()
        self.w = torch.nn.Parameter(torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64))
        self.mode, self.counter = mode, SimpleNamespace(passes=0)

    def training_step(self, batch, batch_idx):
        self.counter.passes += 1
        loss = self.w @ batch @ self.w / 2
        if self.mode == "second" and rank == 1 and self.counter.passes == 4:
            loss = loss * torch.nan  # the second pass of the second step, on one rank
        if self.mode == "skip" and rank == 1 and batch_idx == 1:
            loss = loss * torch.nan
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


generator = torch.Generator().manual_seed(0)
a = torch.randn(4, 3, 3, generator=generator, dtype=torch.float64)
a = a @ a.mT
results = {"a": a}
for mode in ("plain", "second", "skip"):
    model = Quadratic(mode)
    callback = LossSpikeDetection(skip=True) if mode == "skip" else SAM(rho=0.1)
    trainer = Trainer(
        accelerator="cpu", devices=2, strategy="ddp", max_epochs=1, callbacks=[callback], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False, default_root_dir=sys.argv[1],
    )
    trainer.fit(model, DataLoader(a[rank::2], batch_size=None))
    steps = callback.steps_skipped if mode == "skip" else callback.steps_fallen_back
    results[mode] = {"w": model.w.detach(), "steps": steps}
torch.save(results, Path(sys.argv[1]) / f"rank{rank}.pt")
torch.distributed.destroy_process_group()
"""


def descend(pairs, sam, skipped=()):
    w = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    for i, a in enumerate(pairs):
        if i in skipped:
            continue
        g = a @ w
        if sam[i]:
            g = a @ (w + 0.1 * g / g.norm())
        w = w - 0.1 * g
    return w


def test_two_ranks_take_same_step(tmp_path, on_two_ranks):
    """All cases share one run, because two ranks take half a minute to start on a small machine."""
    script = tmp_path / "run.py"
    script.write_text(RANKS)
    on_two_ranks(script, tmp_path)
    ranks = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2)]
    a = ranks[0]["a"]
    pairs = (a[0::2] + a[1::2]) / 2
    for mode, count, expected in (
        ("plain", 0, descend(pairs, (True, True))),
        ("second", 1, descend(pairs, (True, False))),
        ("skip", 1, descend(pairs, (False, False), skipped=(1,))),
    ):
        for rank in ranks:
            assert torch.allclose(rank[mode]["w"], expected, rtol=1e-9), mode
            assert rank[mode]["steps"] == count, mode
