import math
from itertools import pairwise
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from mml_tasks import ForceRegressionTask, SoftAdapt
from mml_tasks.testing import ToyEncoder
from mml_tasks.weights.soft_adapt import soft_adapt_weights
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
runs = settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])

losses = st.floats(0, 100).map(lambda loss: round(loss, 9))  # none so small that scaling loses it
pairs = st.lists(st.tuples(losses, losses), min_size=2, max_size=5)
options = st.fixed_dictionaries(
    {"beta": st.floats(-5, 5), "normalized": st.booleans(), "loss_weighted": st.booleans()}
)


# ---------------------------------------------------------------- the formula


@given(pairs, options)
def test_weights_equal_formula(pairs, options):
    now, before = torch.tensor(pairs, dtype=torch.float64).T
    rates = now - before
    if options["normalized"]:
        rates = rates / rates.abs().sum().clamp(min=1e-300)
    expected = torch.softmax(options["beta"] * rates, 0)
    if options["loss_weighted"] and (expected * now).sum() > 0:
        expected = expected * now / (expected * now).sum()
    weights = soft_adapt_weights(now.tolist(), before.tolist(), **options)
    assert weights == pytest.approx(expected.tolist(), rel=1e-9, abs=1e-300)
    assert sum(weights) == pytest.approx(1)


@given(pairs, st.floats(0.01, 5), st.floats(1e-3, 1e3), st.booleans())
def test_normalized_rates_ignore_scale(pairs, beta, scale, loss_weighted):
    now, before = zip(*pairs, strict=True)
    weights = soft_adapt_weights(now, before, beta, loss_weighted=loss_weighted)
    scaled = [[scale * loss for loss in side] for side in (now, before)]
    assert soft_adapt_weights(*scaled, beta, loss_weighted=loss_weighted) == pytest.approx(weights, rel=1e-6)


@given(pairs, st.floats(0.1, 3), st.booleans())
def test_slowest_target_weighs_most(pairs, beta, normalized):
    now, before = zip(*pairs, strict=True)
    rates = [a - b for a, b in pairs]
    for sign in (1, -1):
        weights = soft_adapt_weights(now, before, sign * beta, normalized)
        best = max(range(len(rates)), key=lambda k: sign * rates[k])
        assert weights[best] == max(weights)


def test_weights_equal_examples():
    assert soft_adapt_weights([1.0, 1.0], [2.0, 2.0]) == [0.5, 0.5]
    rising, falling = soft_adapt_weights([2.0, 1.0], [1.0, 2.0], beta=1.0)
    assert rising / falling == pytest.approx(math.e), "rates of 1/2 and -1/2"
    assert soft_adapt_weights([0.0, 0.0], [0.0, 0.0], loss_weighted=True) == [0.5, 0.5]
    assert soft_adapt_weights([3.0, 1.0], [3.0, 1.0], loss_weighted=True) == [0.75, 0.25]
    with pytest.raises(ValueError, match=r"requires losses that are not negative, got \[1.0, -2.0\]"):
        soft_adapt_weights([1.0, -2.0], [1.0, 1.0], loss_weighted=True)


# ---------------------------------------------------------------- in a run


class Losses(pl.Callback):
    """Losses of every batch."""

    def __init__(self) -> None:
        self.rows: list[list[float | None]] = []

    def on_train_batch_end(self, trainer, pl_module, *args: Any) -> None:
        losses = pl_module.last_losses
        self.rows.append([losses[key].item() if key in losses else None for key in ("energy", "force")])


def expected_weights(rows, batches_per_window: int, **options: Any) -> list[list[float]]:
    """Return the weights of each window of batches; the first two windows have equal weights."""
    means = [
        torch.tensor(rows[i : i + batches_per_window]).mean(0).tolist()
        for i in range(0, len(rows) - batches_per_window + 1, batches_per_window)
    ]
    found = [[1.0, 1.0], [1.0, 1.0]]
    for before, now in pairwise(means):
        found.append([2 * weight for weight in soft_adapt_weights(now, before, **options)])
    return found


@runs
@given(every=st.integers(1, 4), accumulate=st.integers(1, 3), normalized=st.booleans())
def test_weights_follow_mean_losses(tiny, make_trainer, every, accumulate, normalized):
    module, record = tiny(), Losses()
    adapt = SoftAdapt(beta=2.0, every_n_steps=every, normalized=normalized)
    batches = 12 * accumulate
    make_trainer(callbacks=[adapt, record], accumulate_grad_batches=accumulate).fit(
        module, DataLoader(torch.ones(batches))
    )
    expected = expected_weights(record.rows, every * accumulate, beta=2.0, normalized=normalized)
    assert len({tuple(weights) for weights in expected}) > 2, "they move"
    for batch, (_, weights) in enumerate(module.seen):
        assert list(weights.values()) == pytest.approx(expected[batch // (every * accumulate)], rel=1e-5)


class KilledError(Exception):
    pass


@runs
@given(kill=st.integers(1, 23), every=st.integers(1, 5), saved=st.integers(1, 3))
def test_resume_restores_averages(tiny, make_trainer, tmp_path_factory, kill, every, saved):
    folder = tmp_path_factory.mktemp("run")

    class Kill(pl.Callback):
        def on_train_batch_start(self, trainer, pl_module, *args: Any) -> None:
            if trainer.global_step == kill:
                raise KilledError

    def run(*others: pl.Callback, ckpt_path: Any = None):
        module = tiny()
        checkpoint = ModelCheckpoint(folder, save_last=True, every_n_train_steps=saved)
        callbacks = [SoftAdapt(beta=3.0, every_n_steps=every), checkpoint, *others]
        options = {"max_epochs": 3, "enable_checkpointing": True}
        make_trainer(callbacks=callbacks, **options).fit(
            module, DataLoader(torch.ones(8)), ckpt_path=ckpt_path
        )
        return module

    whole = run()
    (folder / "last.ckpt").unlink()
    with pytest.raises(KilledError):
        run(Kill())
    assume((folder / "last.ckpt").exists())
    done = torch.load(folder / "last.ckpt", weights_only=True)["global_step"]
    resumed = run(ckpt_path=folder / "last.ckpt")
    assert resumed.seen == whole.seen[done:]
    assert torch.equal(resumed.numbers, whole.numbers)


def test_missing_target_is_ignored(tiny, make_trainer):
    """Means cover the batches with the target. Weights change once every target has been seen."""

    class Sparse(tiny):
        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            loss = super().training_step(batch, batch_idx)
            if batch_idx % 3:
                del self.last_losses["force"]
            return loss

    module, record = Sparse(), Losses()
    make_trainer(callbacks=[SoftAdapt(every_n_steps=2, beta=5.0), record]).fit(
        module, DataLoader(torch.ones(9))
    )
    energy = [row[0] for row in record.rows]
    force = [row[1] for row in record.rows]
    assert [loss is None for loss in force] == [False, True, True] * 3
    first = [sum(energy[0:2]) / 2, force[0]]
    second = [sum(energy[2:4]) / 2, force[3]]
    third = [sum(energy[4:8]) / 4, force[6]]  # batches 4 and 5 have no force, so the average went on
    weights = [list(seen.values()) for _, seen in module.seen]
    assert weights[:4] == [[1.0, 1.0]] * 4
    after_second = [2 * weight for weight in soft_adapt_weights(second, first, 5.0)]
    after_third = [2 * weight for weight in soft_adapt_weights(third, second, 5.0)]
    assert weights[4] == pytest.approx(after_second, rel=1e-5)
    assert weights[4:8] == [weights[4]] * 4
    assert weights[8] == pytest.approx(after_third, rel=1e-5)


def test_invalid_losses_are_skipped_with_warning(tiny, make_trainer, caplog):
    class Bad(tiny):
        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            loss = super().training_step(batch, batch_idx)
            if batch_idx == 5:
                self.last_losses["force"] *= math.nan
            return loss

    module = Bad()
    make_trainer(callbacks=[SoftAdapt(every_n_steps=2, beta=5.0)]).fit(module, DataLoader(torch.ones(12)))
    weights = [list(seen.values()) for _, seen in module.seen]
    assert all(math.isfinite(value) for row in weights for value in row)
    assert weights[6] == weights[5], "the window with the NaN changes nothing"
    assert weights[8] != weights[6]
    (message,) = [record.message for record in caplog.records if record.name.startswith("mml_tasks")]
    assert message.startswith("step 6: SoftAdapt keeps its weights, because the losses are {'energy': ")


def test_callback_weights_tasks(data, make_trainer):
    task = ForceRegressionTask(ToyEncoder(), normalize_kwargs="auto", lr=0.05)
    adapt = SoftAdapt(every_n_steps=1, beta=5.0, total=11.0)
    make_trainer(max_epochs=3, callbacks=[adapt]).fit(task, data)
    energy, force = task.task_loss_scaling.values()
    assert energy + force == pytest.approx(11.0)
    assert energy != pytest.approx(force)


def test_new_run_resets_weights(tiny, make_trainer):
    adapt = SoftAdapt(every_n_steps=1, beta=5.0)
    first, second = tiny(), tiny()
    make_trainer(callbacks=[adapt]).fit(first, DataLoader(torch.ones(5)))
    make_trainer(callbacks=[adapt]).fit(second, DataLoader(torch.ones(5)))
    assert first.seen == second.seen
    trainer = make_trainer(max_epochs=1, callbacks=[adapt])
    trainer.fit(first, DataLoader(torch.ones(5)))
    weights = dict(first.task_loss_scaling)
    trainer.fit_loop.max_epochs = 2
    trainer.fit(first, DataLoader(torch.ones(5)))
    assert first.seen[10][1].keys() == weights.keys()
    assert first.seen[10][1] != {"energy": 1.0, "force": 1.0}, "more epochs of one trainer go on"


def test_weights_are_logged(tiny, make_trainer, tmp_path):
    logger = pl.loggers.CSVLogger(tmp_path)
    adapt = SoftAdapt(every_n_steps=2, beta=5.0)
    module = tiny()
    make_trainer(callbacks=[adapt], logger=logger, log_every_n_steps=5).fit(
        module, DataLoader(torch.ones(10))
    )
    (path,) = tmp_path.glob("**/metrics.csv")
    assert path.read_text().splitlines()[0] == "loss_scaling/energy,loss_scaling/force,step"
    last = path.read_text().splitlines()[-1].split(",")
    assert [float(last[0]), float(last[1])] == pytest.approx(list(module.seen[9][1].values()))
    assert last[2] == "9"


# ---------------------------------------------------------------- what it cannot use


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keys": ["energy", "energy"]}, "keys must be unique"),
        ({"beta": math.nan}, "beta must be finite, got nan"),
        ({"every_n_steps": 0}, "every_n_steps must be at least 1, got 0"),
        ({"total": 0.0}, "total must be finite and positive, got 0.0"),
        ({"total": math.inf}, "total must be finite and positive, got inf"),
    ],
)
def test_invalid_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SoftAdapt(**options)


def test_single_target_is_refused(tiny, make_trainer):
    with pytest.raises(ValueError, match=r"balances at least two targets, got \['energy'\]. Remove"):
        make_trainer(callbacks=[SoftAdapt()]).fit(tiny(["energy"]), DataLoader(torch.ones(2)))


def test_module_without_losses_is_refused(tiny, make_trainer):
    module = tiny()
    del module.last_losses
    with pytest.raises(
        TypeError, match=r"from last_losses, but TinyModule has no .* Set self.last_losses = \{\}"
    ):
        make_trainer(callbacks=[SoftAdapt()]).fit(module, DataLoader(torch.ones(2)))


def test_checkpoint_of_other_targets_is_refused(tiny, make_trainer, tmp_path):
    trainer = make_trainer(callbacks=[SoftAdapt()])
    trainer.fit(tiny(), DataLoader(torch.ones(2)))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises(
        ValueError, match=r"SoftAdapt weights for \['energy', 'force'\], but this run has the targets \['en"
    ):
        make_trainer(max_epochs=2, callbacks=[SoftAdapt()]).fit(
            tiny(["energy", "stress"]), DataLoader(torch.ones(2)), ckpt_path=tmp_path / "a.ckpt"
        )
