"""LossSpikeDetection names outliers, is silent in a healthy run, and can skip a step."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mml_diagnostics import LossSpikeDetection
from mml_diagnostics.spikes.loss_spike import robust_z_score

FLOATS = st.floats(-1e3, 1e3)


@given(FLOATS, st.lists(FLOATS, min_size=1, max_size=30))
def test_score_equals_formula(value, history):
    median = np.median(history)
    deviation = max(1.4826 * np.median(np.abs(np.array(history) - median)), 0.01 * abs(median), 2.0**-126)
    assert robust_z_score(value, history) == pytest.approx((value - median) / deviation, rel=1e-6, abs=1e-9)


def test_score_handles_non_finite_values():
    assert robust_z_score(math.nan, [1.0]) == math.inf
    assert robust_z_score(2.0, [math.nan]) == 0.0
    assert robust_z_score(2.0, [1.0, math.inf, 1.0]) == pytest.approx(100)


def outlier(samples):
    samples[20]["targets"]["energy"] = torch.full((1, 1), 100.0)
    return samples


def test_spike_names_samples(samples, make_loader, make_task, make_trainer):
    callback = LossSpikeDetection(window=20)
    trainer = make_trainer(callback, max_epochs=8)
    trainer.fit(make_task(), make_loader(samples))
    assert callback.findings == []
    callback = LossSpikeDetection(window=20)
    trainer = make_trainer(callback, max_epochs=8)
    task = make_task(lr=1e-5)  # so that what one outlier does to the weights raises no other loss
    trainer.fit(task, make_loader(outlier(samples)))
    (finding,) = callback.findings
    assert finding.where.startswith("samples 'test/000016', ")
    assert "test/000020" in finding.where
    assert finding.first_step == 22  # the first of its batches after 20 losses
    assert finding.count == 3


def test_skipped_step_changes_nothing(samples, make_loader, make_task, make_trainer):
    class Noted(LossSpikeDetection):
        weights = ()

        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
            state = trainer.optimizers[0].state
            values = [v for p in pl_module.parameters() for v in (p, *state.get(p, {}).values())]
            self.weights = [*self.weights, [v.detach().clone() for v in values]]

    callback = Noted(window=20, skip=True)
    make_trainer(callback, max_epochs=8).fit(make_task(lr=1e-5), make_loader(outlier(samples)))
    assert callback.steps_skipped == 3
    for step in range(4, 31):
        before, after = callback.weights[step], callback.weights[step + 1]
        same = all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
        assert same == (step in (22, 26, 30))


def test_nan_loss_is_skipped_at_first_step(samples, make_loader, make_task, make_trainer):
    samples[3]["targets"]["energy"] = torch.full((1, 1), torch.nan)
    callback = LossSpikeDetection(skip=True)
    task = make_task()
    make_trainer(callback, max_epochs=2).fit(task, make_loader(samples))
    assert callback.steps_skipped == 2
    assert all(p.isfinite().all() for p in task.parameters())


def test_persistent_high_loss_is_accepted(samples, make_loader, make_task, make_trainer):
    for sample in samples:
        sample["targets"]["energy"] = torch.full((1, 1), torch.nan)
    callback = LossSpikeDetection(skip=True)
    make_trainer(callback, max_epochs=4).fit(make_task(), make_loader(samples))
    assert callback.steps_skipped == 10


def test_accumulation_skips_whole_step(samples, make_loader, make_task, make_trainer):
    samples[3]["targets"]["energy"] = torch.full((1, 1), torch.nan)
    callback = LossSpikeDetection(skip=True)
    task = make_task()
    make_trainer(callback, max_epochs=1, accumulate_grad_batches=2).fit(task, make_loader(samples))
    assert callback.steps_skipped == 1
    assert all(p.isfinite().all() for p in task.parameters())


def test_state_survives_resume(samples, make_loader, make_task, make_trainer, tmp_path):
    first = LossSpikeDetection()
    trainer = make_trainer(first, max_epochs=2)
    trainer.fit(make_task(), make_loader(samples))
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    second = LossSpikeDetection()
    make_trainer(second, max_epochs=3).fit(
        make_task(), make_loader(samples), ckpt_path=tmp_path / "last.ckpt", weights_only=True
    )
    assert list(second._history)[:8] == list(first._history)
    assert len(second._history) == 12


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 0.0}, "threshold must be .*got 0.0"),
        ({"threshold": math.nan}, "threshold must be .*got nan"),
        ({"window": 19}, "window must be .*got 19"),
        ({"check_every_n_steps": 0}, "check_every_n_steps must be .*got 0"),
    ],
)
def test_invalid_options_are_rejected(options, message):
    with pytest.raises(ValueError, match=message):
        LossSpikeDetection(**options)
