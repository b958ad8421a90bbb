"""Cost of the callbacks of mml-diagnostics in the training step of `matsciml fit` with batches of 16.

The model and the data are those of the default configuration, on one thread. Each callback is measured in a
separate fit, and another fit measures the three headline callbacks together. In a fit, the callbacks are
enabled and disabled in turn for 50 steps each, so that the work they do every 50 steps is included. Each
number is the median over pairs of adjacent periods. The unit is CPU time of the process, which other programs
on the machine disturb little. The table also shows the CPU time spent in the callback's methods. It is more
precise, but excludes effects on other code, such as memory that is freed later.

The profiler counts the synchronizations of host and device in steps in which the callback has nothing to
report. A CPU run only counts them; there they cost nothing. The autocorrelation of 1e5 elements over 200
steps is timed separately.
"""

from __future__ import annotations

import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from harness import Timing, describe_machine, parse_arguments, write_json
from mml_data import MatSciMLDataModule
from mml_diagnostics import (
    GradientCheckCallback,
    LossSpikeDetection,
    ModelAutocorrelation,
    MonitorGradients,
    ThroughputCallback,
    TrainingHelperCallback,
    UnusedParametersCallback,
)
from mml_diagnostics.spikes.autocorrelation import summarize_autocorrelation
from mml_graphs import PeriodicPropertiesTransform, PointCloudToGraphTransform
from mml_models import SchNet
from mml_tasks import ForceRegressionTask
from pytorch_lightning import Callback, Trainer
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader

PERIOD = 50  # steps; a period includes all regular work of a callback
QUIET_STEPS = range(61, 66)  # no callback reports in these steps
WAITS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::equal")
HEADLINE = (GradientCheckCallback, TrainingHelperCallback, ModelAutocorrelation)
ALONE = (*HEADLINE, LossSpikeDetection, ThroughputCallback, MonitorGradients, UnusedParametersCallback)
OF_A_BATCH = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)

Make = Callable[[], list[Callback]]


class Sleeper(Callback):
    """Enables callbacks in every other period of steps, and records the CPU time of periods and calls."""

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self.callbacks = callbacks
        self.periods: list[float] = []
        self.inside = 0.0
        self._start = 0.0

    def setup(self, *args: Any, **kwargs: Any) -> None:
        """Forward the call, as the next two methods do."""
        for callback in self.callbacks:
            callback.setup(*args, **kwargs)

    def on_fit_start(self, *args: Any) -> None:
        """Forward the call."""
        for callback in self.callbacks:
            callback.on_fit_start(*args)

    def on_train_start(self, *args: Any) -> None:
        """Forward the call."""
        for callback in self.callbacks:
            callback.on_train_start(*args)

    def pass_on(self, hook: str, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Call one hook in the periods with callbacks, which have odd numbers."""
        start = time.process_time()
        if hook == OF_A_BATCH[0] and trainer.global_step % PERIOD == 0:
            self.periods.append(start - self._start)
            self._start = start
        if (trainer.global_step - (hook == OF_A_BATCH[-1])) // PERIOD % 2:
            for callback in self.callbacks:
                getattr(callback, hook)(trainer, *args, **kwargs)
            if trainer.global_step >= 2 * PERIOD:
                self.inside += time.process_time() - start


for hook in OF_A_BATCH:
    setattr(Sleeper, hook, lambda self, *args, _hook=hook, **kwargs: self.pass_on(_hook, *args, **kwargs))


class Waits(Callback):
    """Counts the operations that make the host wait in the quiet steps."""

    def __init__(self) -> None:
        self.count = 0
        self._profile: Any = None

    def on_train_batch_start(self, trainer: Trainer, *args: Any) -> None:
        """Start at the first quiet step, and stop after the last."""
        if trainer.global_step == QUIET_STEPS.start:
            self._profile = profile(activities=[ProfilerActivity.CPU])
            self._profile.__enter__()
        elif trainer.global_step == QUIET_STEPS.stop:
            self._profile.__exit__(None, None, None)
            self.count = sum(e.count for e in self._profile.key_averages() if e.key in WAITS)


def load_batches() -> list[Any]:
    """Return the batches of the default configuration."""
    data = MatSciMLDataModule(
        dataset="emt",
        batch_size=16,
        transforms=[
            PeriodicPropertiesTransform(cutoff_radius=5.0, adaptive_cutoff=True),
            PointCloudToGraphTransform("pyg"),
        ],
    )
    data.setup("fit")
    return [batch for batch in data.train_dataloader() if len(batch["sample_id"]) == 16]


def train(batches: Sequence[Any], callbacks: Sequence[Callback], steps: int) -> None:
    """Train the default model."""
    torch.manual_seed(0)
    encoder = SchNet(hidden_dim=32, output_dim=32, num_conv=2, cutoff=5.0)
    task = ForceRegressionTask(encoder=encoder, task_loss_scaling={"energy": 10.0, "force": 1.0}, lr=1e-3)
    endless: Any = [batches[i % len(batches)] for i in range(steps)]
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            accelerator="cpu",
            max_steps=steps,
            callbacks=list(callbacks),
            gradient_clip_val=10.0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
        )
        trainer.fit(task, DataLoader(endless, batch_size=None))


def time_step(batches: Sequence[Any], make: Make, pairs: int) -> tuple[list[float], list[float], float]:
    """Return the CPU seconds per step with and without callbacks for each pair, and those in their methods.

    The first two periods are left out as warm-up.
    """
    sleeper = Sleeper(make())
    train(batches, [sleeper], 2 * PERIOD * (pairs + 1) + 1)
    seconds = [period / PERIOD for period in sleeper.periods[3:]]  # the first entry is before the first step
    return seconds[1::2], seconds[0::2], sleeper.inside / PERIOD / pairs


def count_waits(batches: Sequence[Any], make: Make) -> float:
    """Return the average number of host waits in a quiet step."""
    waits = Waits()
    train(batches, [*make(), waits], QUIET_STEPS.stop + 1)
    return waits.count / len(QUIET_STEPS)


def make_all(classes: Sequence[type[Callback]]) -> list[Callback]:
    """Return one callback of each class, with default settings."""
    return [cls() for cls in classes]


def main() -> None:
    """Run the benchmark."""
    arguments = parse_arguments(__doc__)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    about = describe_machine("torch", "pytorch-lightning", "mml-diagnostics")
    batches = load_batches()
    cases: dict[str, Make] = {cls.__name__: partial(make_all, (cls,)) for cls in ALONE}
    cases["three headline callbacks"] = partial(make_all, HEADLINE)
    if arguments.quick:
        cases = {
            name: cases[name] for name in [cls.__name__ for cls in HEADLINE] + ["three headline callbacks"]
        }
    results: dict[str, Any] = {}
    bare_waits = count_waits(batches, partial(make_all, ()))
    print(
        f"{'one step, batch 16':26} {'bare, ms':>22} {'cost, %':>20} {'in its methods, %':>18} "
        f"{'limit, %':>9} {'waits per step':>13}"
    )
    for name, make in cases.items():
        awake, asleep, inside = time_step(batches, make, 3 if arguments.quick else 10)
        bare = Timing.of(asleep)
        cost = Timing.of([100 * (a / b - 1) for a, b in zip(awake, asleep, strict=True)])
        share, waits = 100 * inside / bare.median, count_waits(batches, make) - bare_waits
        limit = 4 if name.startswith("three") else 2
        print(
            f"{name:26} {bare.show(1e3):>22} {cost.show(digits=1):>20} {share:18.2f} {limit:9} {waits:13.1f}"
        )
        results |= {f"{name}/bare_seconds": bare, f"{name}/cost_percent": cost}
        results |= {f"{name}/methods_percent": share, f"{name}/waits": waits}
    series = torch.randn(200, 100_000)
    times = []
    for _ in range(3 if arguments.quick else 9):
        start = time.process_time()
        summarize_autocorrelation(series)
        times.append(time.process_time() - start)
    results["autocorrelation of 1e5 x 200/seconds"] = Timing.of(times)
    print(f"autocorrelation of 1e5 elements, 200 steps: {Timing.of(times).show()} s, limit 0.5 s")
    write_json(arguments.json, about, results)


if __name__ == "__main__":
    main()
