"""Steps that a diagnostic repeats do not change the logged values and the state of a task."""

from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from mml_diagnostics import SAM, GradientCheckCallback, diagnose, replay
from mml_tasks import ForceRegressionTask
from support import make_data, make_task

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*smaller than the logging interval"),
]


class LastLosses(pl.Callback):
    """Callback that records the losses that SoftAdapt reads."""

    def __init__(self) -> None:
        self.seen: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        self.seen.append({key: float(loss) for key, loss in pl_module.last_losses.items()})


def fit_with(task: ForceRegressionTask, folder: Any, *callbacks: pl.Callback) -> dict[str, float]:
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        limit_train_batches=4,
        limit_val_batches=1,
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(task, make_data())
    return {key: value.item() for key, value in trainer.callback_metrics.items()}


def test_sam_keeps_train_loss(tmp_path):
    """With a learning rate of zero, all steps use the same weights. A large rho makes any change visible."""
    found = []
    for callbacks in ([], [SAM(rho=3.0)]):
        record = LastLosses()
        found.append((fit_with(make_task(lr=0.0), tmp_path, *callbacks, record), record.seen))
    assert found[0] == found[1]
    assert found[0][0]["train_loss"] > 0


def test_replay_and_diagnose_keep_task(tmp_path):
    task = make_task(lr=1e-3)

    class Spoil(pl.Callback):
        def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
            if trainer.global_step == 2:
                next(pl_module.encoder.parameters()).grad.fill_(torch.nan)

    fit_with(task, tmp_path, Spoil(), GradientCheckCallback(dump_dir=tmp_path))
    (path,) = tmp_path.glob("step-*.pt")
    before = [(metric.update_count, metric.metric_state) for metric in metrics(task)]
    result = replay(path, task, weights_only=False)
    assert len(result.losses) == 1
    data = make_data()
    data.setup("fit")
    diagnose(task, next(iter(data.train_dataloader())), steps=3)
    for metric, (count, state) in zip(metrics(task), before, strict=True):
        assert metric.update_count == count
        for name, value in metric.metric_state.items():
            torch.testing.assert_close(value, state[name], rtol=0, atol=0)


def metrics(task: torch.nn.Module) -> list[Any]:
    return [part for part in task.modules() if hasattr(type(part), "metric_state")]
