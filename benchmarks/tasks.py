"""Cost of mml-tasks in a training step, by section.

`scheduler`: processor time per step of `LossScalingScheduler` in microseconds, for schedules by step and by
epoch. It is the mean over the steps of a run, without a logger and with a logger that writes every 50 steps.

`training_step`: `ForceRegressionTask.training_step` and its backward pass on a batch of 16 LiPS frames,
compared with the same computation in plain torch (tasks_step.py).

    uv run python benchmarks/tasks.py [--quick] [--json FILE]
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from harness import Timing, describe_machine, parse_arguments, write_json
from mml_tasks import (
    CosineScalingSchedule,
    LinearScalingSchedule,
    LossScalingScheduler,
    SigmoidScalingSchedule,
    StepScalingSchedule,
)
from pytorch_lightning.loggers import CSVLogger
from tasks_step import measure_training_step
from torch.utils.data import DataLoader, TensorDataset

KEYS = ("energy", "force", "stress", "band_gap")
SCHEDULER_LIMIT = 20.0


class Weighed(pl.LightningModule):
    """A minimal module with loss weights."""

    def __init__(self) -> None:
        super().__init__()
        self.task_loss_scaling = dict.fromkeys(KEYS, 1.0)
        self.number = torch.nn.Parameter(torch.ones(()))

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        """Return a weighted sum of trivial losses."""
        return sum(self.task_loss_scaling.values()) * self.number.square()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return plain gradient descent."""
        return torch.optim.SGD(self.parameters(), 1e-9)


class TimedScheduler(LossScalingScheduler):
    """Records the processor time that it takes before each step."""

    seconds = 0.0

    def on_train_batch_start(self, *args: Any) -> None:
        """Set the weights, and record the time."""
        start = time.thread_time()
        super().on_train_batch_start(*args)
        self.seconds += time.thread_time() - start


def scheduler_microseconds(schedules: int, logs: bool, steps: int) -> float:
    """Train for some steps, and return the average time of the scheduler per step."""
    scheduler = TimedScheduler(
        *[
            SigmoidScalingSchedule("energy", 1.0, 10.0, center_frac=0.5),
            CosineScalingSchedule("force", 10.0, 1.0),
            LinearScalingSchedule("stress", 0.0, 1.0),
            StepScalingSchedule("band_gap", 1.0, [0.3, 0.6], [2.0, 3.0]),
        ][:schedules]
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = pl.Trainer(
            accelerator="cpu",
            max_epochs=2,
            callbacks=[scheduler],
            logger=CSVLogger(folder) if logs else False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(Weighed(), DataLoader(TensorDataset(torch.ones(steps // 2))))
    return 1e6 * scheduler.seconds / steps


def measure_scheduler(quick: bool) -> tuple[dict[str, Any], bool]:
    """Print and return the microseconds per step, and whether the limit is met."""
    steps, repeats = (400, 3) if quick else (2000, 7)
    results: dict[str, Any] = {}
    good = True
    print(f"{'microseconds per step of LossScalingScheduler':46} median (range) of runs")
    for schedules in (1, 4):
        for logs in (False, True):
            name = f"schedules: {schedules}, {'a CSV logger' if logs else 'no logger'}"
            timing = Timing.of([scheduler_microseconds(schedules, logs, steps) for _ in range(repeats)])
            results[name] = timing
            good &= timing.median <= SCHEDULER_LIMIT
            print(f"{name:46} {timing.show()}")
    print(f"limit: at most {SCHEDULER_LIMIT:g} microseconds: {'met' if good else 'NOT MET'}")
    return results, good


SECTIONS: dict[str, Callable[[bool], tuple[dict[str, Any], bool]]] = {
    "scheduler": measure_scheduler,
    "training_step": measure_training_step,
}
"""Functions that take `quick`, print a table, and return the numbers and whether all limits are met."""


def main() -> int:
    """Measure every section, and return 1 if a limit is not met."""
    options = parse_arguments(__doc__)
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    about = describe_machine("torch", "pytorch-lightning", "mml-tasks", "mml-models")
    results: dict[str, object] = {}
    good = True
    for name, section in SECTIONS.items():
        print()
        numbers, holds = section(options.quick)
        results |= {f"{name}: {key}": value for key, value in numbers.items()}
        good &= holds
    write_json(options.json, about, results)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
