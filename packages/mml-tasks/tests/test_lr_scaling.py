import logging
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mml_tasks import ScalarRegressionTask, scale_lr_by_world_size
from mml_tasks.testing import ToyEncoder

rates = st.floats(1e-8, 10.0)
sizes = st.integers(1, 4096)


@pytest.fixture
def log(caplog, monkeypatch):
    """Capture the log of Lightning, which does not propagate to pytest."""
    monkeypatch.setattr(logging.getLogger("pytorch_lightning"), "propagate", True)
    with caplog.at_level(logging.INFO, logger="pytorch_lightning.utilities.rank_zero"):
        yield caplog


@given(lr=rates, first=sizes, second=sizes)
def test_rules_scale_rate(lr, first, second):
    for rule, power in (("sqrt", 0.5), ("linear", 1.0)):
        assert scale_lr_by_world_size(lr, first, rule) == pytest.approx(lr * first**power)
        twice = scale_lr_by_world_size(scale_lr_by_world_size(lr, first, rule), second, rule)
        assert twice == pytest.approx(scale_lr_by_world_size(lr, first * second, rule))
    assert scale_lr_by_world_size(lr, 1) == lr


def test_missing_ranks_count_as_one(caplog):
    with caplog.at_level(logging.INFO, "mml_tasks"):
        assert scale_lr_by_world_size(0.1) == 0.1
    assert "for 1 device(s), because torch.distributed is not initialized. Pass world_size" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0, 2), "lr must be finite and positive, got 0.0"),
        ((math.nan, 2), "got nan"),
        ((-1.0, 2), "got -1.0"),
        ((0.1, 0), "world_size must be at least 1, got 0"),
        ((0.1, 2, "cubic"), "rule must be one of .*'sqrt', 'linear'.*, got 'cubic'"),
    ],
)
def test_invalid_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        scale_lr_by_world_size(*arguments)


def test_task_logs_effective_batch(data, make_trainer, monkeypatch, log):
    task = ScalarRegressionTask(ToyEncoder(), task_keys=["band_gap"], lr=0.01, lr_scaling="sqrt")
    trainer = make_trainer(accumulate_grad_batches=2)
    monkeypatch.setattr(type(trainer), "world_size", property(lambda trainer: 16))
    trainer.fit(task, data)
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.04)
    assert trainer.callback_metrics["lr/scaled"].item() == pytest.approx(0.04)
    assert trainer.callback_metrics["effective_batch_size"].item() == 4 * 16 * 2
    assert "0.01 is scaled to 0.04 by the rule 'sqrt'; an optimizer step uses 128 structures" in log.text


class Batches:
    """Iterable without ``batch_size``."""

    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


def test_unknown_batch_size_is_logged(data, make_trainer, log):
    task = ScalarRegressionTask(ToyEncoder(), task_keys=["band_gap"], lr_scaling="linear")
    trainer, batches = make_trainer(), list(data.loader())
    trainer.fit(task, Batches(batches), Batches(batches))
    assert "effective_batch_size" not in trainer.callback_metrics
    assert "an unknown number of structures, because the loader has no batch_size" in log.text


def test_scheduler_starts_from_scaled_rate(data, make_trainer, monkeypatch):
    options = {"lr": 0.01, "lr_scaling": "linear", "scheduler_kwargs": {"OneCycleLR": {}}}
    task = ScalarRegressionTask(ToyEncoder(), task_keys=["band_gap"], **options)
    trainer = make_trainer()
    monkeypatch.setattr(type(trainer), "world_size", property(lambda trainer: 4))
    trainer.fit(task, data)
    assert trainer.optimizers[0].param_groups[0]["max_lr"] == pytest.approx(0.04)


def test_unknown_rule_is_refused():
    with pytest.raises(ValueError, match="lr_scaling must be one of"):
        ScalarRegressionTask(ToyEncoder(), lr_scaling="cubic")
    assert not torch.distributed.is_initialized()
