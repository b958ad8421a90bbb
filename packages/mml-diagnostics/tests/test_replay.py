"""A bad step that was written down goes through again, to the last bit."""

import pytest
import torch
import torchmetrics
from mml_diagnostics import GradientCheckCallback, replay
from mml_diagnostics.non_finite.replay import random_state, set_random_state
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch import nn


@pytest.fixture
def noisy_class(task_class):
    """Its loss depends on random numbers, and is kept for each batch."""

    class Noisy(task_class):
        losses: list

        def embed(self, batch):
            return nn.functional.dropout(super().embed(batch), 0.3)

        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            self.losses.append(float(loss.detach()))
            return loss

    Noisy.losses = []
    return Noisy


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_step_is_gone_through_again(
    samples, make_loader, make_task, make_trainer, noisy_class, tmp_path, precision
):
    samples[13]["pos"][0, 0] = torch.inf
    task = make_task(noisy_class)
    callback = GradientCheckCallback(dump_dir=tmp_path / "dumps")
    make_trainer(callback, precision=precision, accumulate_grad_batches=2).fit(task, make_loader(samples))
    (file,) = (tmp_path / "dumps").iterdir()
    assert file.name == "step-00000000-rank0.pt"
    losses = noisy_class.losses[:2]
    other = make_task(noisy_class)
    for p in other.parameters():
        p.data.fill_(0.5)
    before = torch.get_rng_state()
    replayed = replay(file, other)
    assert torch.equal(torch.get_rng_state(), before)
    assert replayed.step == 0
    assert replayed.losses == losses
    assert replayed.bad_gradients == ["encoder.message.weight"]
    assert replayed.batches[1]["sample_id"][5] == "test/000013"


def test_metrics_and_lists_of_the_module_are_left_alone(
    samples, make_loader, make_task, make_trainer, task_class, tmp_path
):
    class Remembers(task_class):
        def __init__(self):
            super().__init__()
            self.metric, self.losses = torchmetrics.MeanMetric(), []

        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            self.metric.update(1.0)
            self.losses.append(float(loss.detach()))
            return loss

    samples[0]["targets"]["energy"].fill_(torch.nan)
    make_trainer(GradientCheckCallback(dump_dir=tmp_path)).fit(
        task := make_task(Remembers), make_loader(samples[:8])
    )
    (file,) = tmp_path.glob("step-*.pt")
    assert len(replay(file, task).losses) == 1
    assert task.metric.update_count == len(task.losses) == 1


def test_at_most_ten_are_written(samples, make_loader, make_task, make_trainer, tmp_path, caplog):
    samples[0]["targets"]["energy"].fill_(torch.nan)
    callback = GradientCheckCallback(dump_dir=tmp_path / "dumps")
    make_trainer(callback, max_epochs=12).fit(make_task(), make_loader(samples[:8]))
    assert callback.steps_non_finite == 12
    assert len(list((tmp_path / "dumps").iterdir())) == 10
    assert sum("No more steps will be written" in r.getMessage() for r in caplog.records) == 1


def test_healthy_and_trial_runs_write_nothing(samples, make_loader, make_task, make_trainer, tmp_path):
    make_trainer(GradientCheckCallback(dump_dir=tmp_path / "dumps")).fit(make_task(), make_loader(samples))
    samples[0]["targets"]["energy"].fill_(torch.nan)
    callback = GradientCheckCallback(dump_dir=tmp_path / "dumps")
    make_trainer(callback, fast_dev_run=True).fit(make_task(), make_loader(samples))
    assert callback.steps_non_finite == 1
    assert not (tmp_path / "dumps").exists()


def test_a_batch_that_cannot_be_written_is_said_and_not_fatal(
    samples, make_loader, make_task, make_trainer, tmp_path, caplog
):
    (tmp_path / "a").mkdir()
    callback = GradientCheckCallback(dump_dir=tmp_path / "a" / "b")
    (tmp_path / "a" / "b").write_text("a file, made later")
    samples[0]["targets"]["energy"].fill_(torch.nan)
    trainer = make_trainer(callback, max_epochs=3)
    trainer.fit(make_task(), make_loader(samples))
    assert trainer.global_step == 12
    assert not callback.switched_off
    assert sum("could not be written" in r.getMessage() for r in caplog.records) == 1


def test_weights_that_are_sharded_are_not_asked_for_and_that_is_said(
    samples, make_loader, make_task, make_trainer, tmp_path, caplog
):
    class FSDPStrategy(SingleDeviceStrategy):
        """Known by its name, as Lightning's and its subclasses are."""

    samples[0]["targets"]["energy"].fill_(torch.nan)
    callback = GradientCheckCallback(dump_dir=tmp_path / "dumps")
    make_trainer(callback, strategy=FSDPStrategy("cpu")).fit(make_task(), make_loader(samples))
    assert callback.steps_non_finite == 1
    assert not (tmp_path / "dumps").exists()
    assert sum("dump_dir is ignored, because FSDPStrategy" in r.getMessage() for r in caplog.records) == 1


class Unknown:
    """An object in a batch, as a graph is."""


def test_what_cannot_be_replayed_is_said(
    samples, make_batch, make_task, make_trainer, task_class, tmp_path, make_loader
):
    task = make_task()
    with pytest.raises(FileNotFoundError, match=r"missing.pt does not exist"):
        replay(tmp_path / "missing.pt", task)
    (tmp_path / "text.pt").write_text("this is not a zip archive")
    with pytest.raises(ValueError, match=r"text.pt was not written by"):
        replay(tmp_path / "text.pt", task)
    torch.save({"weights": 1}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="was not written by GradientCheckCallback"):
        replay(tmp_path / "other.pt", task)
    samples[0]["targets"]["energy"].fill_(torch.nan)
    make_trainer(GradientCheckCallback(dump_dir=tmp_path), max_steps=1).fit(task, make_loader(samples))
    good = tmp_path / "step-00000000-rank0.pt"
    with pytest.raises(ValueError, match="do not belong to Linear"):
        replay(good, nn.Linear(2, 2))
    content = torch.load(good, weights_only=True)
    content["batches"][0][1]["graph"] = Unknown()
    torch.save(content, good)
    with pytest.raises(ValueError, match="weights_only=False"):
        replay(good, task)
    task.automatic_optimization = False
    with pytest.raises(ValueError, match="uses manual optimization"):
        replay(good, task)


def test_random_state_round_trip():
    import random

    import numpy as np

    def draw():
        return torch.rand(3).tolist(), random.random(), np.random.rand(2).tolist()  # noqa: NPY002

    state = random_state(torch.device("cpu"))
    first = draw()
    assert draw() != first
    set_random_state(state, torch.device("cpu"))
    assert draw() == first
