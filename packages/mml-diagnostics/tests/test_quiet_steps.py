"""Diagnostics do not make the host wait for the device in steps without a report."""

from collections import Counter

import pytest
import torch
from mml_diagnostics import (
    ForwardNaNDetection,
    GradientCheckCallback,
    LossSpikeDetection,
    ModelAutocorrelation,
    MonitorGradients,
    ThroughputCallback,
    TrainingHelperCallback,
    UnusedParametersCallback,
)
from pytorch_lightning import Callback

# What reads a tensor on the host, whatever device it is on.
WAITS = (
    "item",
    "tolist",
    "numpy",
    "cpu",
    "nonzero",
    "equal",
    "__bool__",
    "__float__",
    "__int__",
    "__index__",
)
QUIET = range(61, 66)


class Count(Callback):
    """Count the reads of the quiet steps. Counting starts with the batch, before the other callbacks."""

    def __init__(self, reads):
        self.reads = reads
        self.counts = []

    def on_train_batch_start(self, trainer, *args):
        if trainer.global_step in QUIET:
            self.counts.append(self.reads.total())
        self.reads.clear()


@pytest.fixture
def reads(monkeypatch):
    counter = Counter()
    for method in WAITS:
        original = getattr(torch.Tensor, method)

        def counted(self, *args, _original=original, _method=method, **kwargs):
            counter[_method] += 1
            return _original(self, *args, **kwargs)

        monkeypatch.setattr(torch.Tensor, method, counted)
    return counter


def reads_per_step(callbacks, reads, make_trainer, make_task, samples, make_loader):
    count = Count(reads)
    make_trainer(count, *callbacks, max_epochs=17).fit(make_task(), make_loader(samples))  # 68 steps
    assert len(count.counts) == len(QUIET)
    assert not any(getattr(callback, "switched_off", False) for callback in callbacks)
    return count.counts


@pytest.mark.parametrize(
    ("classes", "allowed"),
    [
        ([GradientCheckCallback], 1),
        ([TrainingHelperCallback], 0),
        ([ModelAutocorrelation], 0),
        ([ForwardNaNDetection], 1),  # reads the loss where nobody else looks for NaN
        ([GradientCheckCallback, ForwardNaNDetection], 1),
        ([LossSpikeDetection, ThroughputCallback, MonitorGradients, UnusedParametersCallback], 0),
    ],
)
def test_quiet_steps_do_not_read_device(
    classes, allowed, reads, make_trainer, make_task, samples, make_loader
):
    same = (reads, make_trainer, make_task, samples, make_loader)
    bare = reads_per_step([], *same)
    seen = reads_per_step([cls() for cls in classes], *same)
    assert [b - a for a, b in zip(bare, seen, strict=True)] == [allowed] * len(QUIET)


def test_reads_are_counted(reads, make_trainer, make_task, samples, make_loader):
    class Reads(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, *args):
            float(outputs["loss"])

    same = (reads, make_trainer, make_task, samples, make_loader)
    bare, seen = reads_per_step([], *same), reads_per_step([Reads()], *same)
    assert [b - a for a, b in zip(bare, seen, strict=True)] == [1] * len(QUIET)
