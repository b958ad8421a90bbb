"""`replay` repeats a bad step from its file, bit for bit."""

import pytest
import torch
import torchmetrics
from mml_diagnostics import GradientCheckCallback, replay
from mml_diagnostics.non_finite.replay import random_state, set_random_state
from torch import nn


@pytest.fixture
def noisy_class(task_class):
    """Task that has random losses and stores the loss of each batch."""

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
def test_replay_repeats_step(samples, make_loader, make_task, make_trainer, noisy_class, tmp_path, precision):
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


def test_replay_keeps_metrics_and_lists(samples, make_loader, make_task, make_trainer, task_class, tmp_path):
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


class Unknown:
    """Object in a batch, such as a graph."""


def test_replay_rejects_invalid_files(
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


def test_random_state_round_trips():
    import random

    import numpy as np

    def draw():
        return torch.rand(3).tolist(), random.random(), np.random.rand(2).tolist()  # noqa: NPY002

    state = random_state(torch.device("cpu"))
    first = draw()
    assert draw() != first
    set_random_state(state, torch.device("cpu"))
    assert draw() == first
