import math
import os
import signal
from types import SimpleNamespace

import pytest
from matsciml.runs.interruption import GracefulInterruption, TrainingInterrupted
from matsciml.runs.run_checkpoints import LastCheckpoint


def trainer(**changes):
    """Return the attributes of a Trainer between two steps, and record the saved checkpoints."""
    saved = []

    def save(path, weights_only):
        saved.append(path.with_suffix(".ckpt"))
        path.touch()

    given = {
        "world_size": 1,
        "val_check_batch": math.inf,
        "check_val_every_n_epoch": 1,
        "accumulate_grad_batches": 1,
        "is_global_zero": True,
        "loggers": [],
        "strategy": SimpleNamespace(barrier=lambda name: None),
        "is_last_batch": False,
        "global_step": 5,
        "save_checkpoint": save,
        "saved": saved,
    }
    return SimpleNamespace(**given | changes)


@pytest.fixture
def callback(tmp_path):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    callback = GracefulInterruption(LastCheckpoint(tmp_path / "last.ckpt"))
    callback.on_train_start(trainer(), None)
    yield callback
    callback.teardown(trainer(), None, "fit")
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_signal_saves_after_step(callback, signum):
    callback.on_train_batch_end(calm := trainer(), None, None, None, 0)
    assert calm.saved == []
    os.kill(os.getpid(), signum)
    with pytest.raises(
        TrainingInterrupted, match=f"stopped by {signal.Signals(signum).name} after step 5"
    ) as stop:
        callback.on_train_batch_end(asked := trainer(), None, None, None, 1)
    assert asked.saved == [callback.last.path]
    assert callback.last.path.is_file()
    assert stop.value.signum == signum


def test_signal_waits_for_accumulation_window(callback):
    os.kill(os.getpid(), signal.SIGTERM)
    for batch_idx in (0, 1):
        callback.on_train_batch_end(here := trainer(accumulate_grad_batches=3), None, None, None, batch_idx)
        assert here.saved == []
    with pytest.raises(TrainingInterrupted):
        callback.on_train_batch_end(trainer(accumulate_grad_batches=3), None, None, None, 2)


@pytest.mark.parametrize("due", [{"is_last_batch": True}, {"val_check_batch": 4}])
def test_signal_waits_for_validation(callback, due):
    os.kill(os.getpid(), signal.SIGTERM)
    callback.on_train_batch_end(here := trainer(**due), None, None, None, 3)
    assert here.saved == []
    with pytest.raises(TrainingInterrupted):
        callback.on_train_batch_end(trainer(val_check_batch=4), None, None, None, 4)


@pytest.mark.parametrize("window", [1, 2])
def test_frequent_validation_does_not_block_stop(callback, window):
    often = trainer(val_check_batch=window, accumulate_grad_batches=window)
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(TrainingInterrupted):
        callback.on_train_batch_end(often, None, None, None, window - 1)


def test_second_signal_stops_immediately(callback):
    os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_all_ranks_stop_together(callback):
    strategy = SimpleNamespace(
        reduce_boolean_decision=lambda asked, all: True,  # noqa: A006
        barrier=lambda name: None,
    )
    with pytest.raises(TrainingInterrupted):
        callback.on_train_batch_end(trainer(world_size=2, strategy=strategy), None, None, None, 0)
