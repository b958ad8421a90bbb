"""What the callbacks of mml-diagnostics cost: the step of `matsciml fit`, batch 16, with and without each.

The model and the data are those of the default configuration. Bare fits and fits with one callback (and with
the three headline ones together) run in turn; a number is the time of 100 steps after a warm-up, so that what
a callback does every 50 steps is in it. Synchronisations of host and device are counted with the profiler on
steps at which the callback has nothing to report; on the CPU they are merely counted. The autocorrelation of
1e5 elements over 200 steps is timed by itself.
"""

from __future__ import annotations

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
from mml_diagnostics.autocorrelation import summarize_autocorrelation
from mml_graphs import PeriodicPropertiesTransform, PointCloudToGraphTransform
from mml_models import SchNet
from mml_tasks import ForceRegressionTask
from pytorch_lightning import Callback, LightningModule, Trainer
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader

WARM_UP, PERIOD = 20, 50  # steps; a period holds all that a callback does
QUIET_STEPS = range(61, 66)  # no callback reports at these
WAITS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::equal")
HEADLINE = (GradientCheckCallback, TrainingHelperCallback, ModelAutocorrelation)
ALONE = (*HEADLINE, LossSpikeDetection, ThroughputCallback, MonitorGradients, UnusedParametersCallback)

Make = Callable[[], list[Callback]]


class Clock(Callback):
    """Times the steps after the warm-up."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._start = 0.0

    def on_train_batch_start(self, trainer: Trainer, *args: Any) -> None:
        """Start after the warm-up."""
        if trainer.global_step == WARM_UP:
            self._start = time.perf_counter()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop."""
        self.seconds = time.perf_counter() - self._start


class Waits(Callback):
    """Counts what makes the host wait, on the quiet steps."""

    def __init__(self) -> None:
        self.count = 0
        self._profile: Any = None

    def on_train_batch_start(self, trainer: Trainer, *args: Any) -> None:
        """Start at the first of the quiet steps, stop after the last."""
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


def time_step(batches: Sequence[Any], make: Make, steps: int) -> float:
    """Return the seconds of one step."""
    clock = Clock()
    train(batches, [clock, *make()], WARM_UP + steps)
    return clock.seconds / steps


def count_waits(batches: Sequence[Any], make: Make) -> float:
    """Return how often the host waits in a quiet step."""
    waits = Waits()
    train(batches, [*make(), waits], QUIET_STEPS.stop + 1)
    return waits.count / len(QUIET_STEPS)


def make_all(classes: Sequence[type[Callback]]) -> list[Callback]:
    """Return one of each, with default settings."""
    return [cls() for cls in classes]


def main() -> None:
    """Run the benchmark."""
    arguments = parse_arguments(__doc__)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    about = describe_machine("torch", "pytorch-lightning", "mml-diagnostics")
    batches = load_batches()
    cases: dict[str, Make] = {"bare": partial(make_all, ())}
    cases |= {cls.__name__: partial(make_all, (cls,)) for cls in ALONE}
    cases["three headline callbacks"] = partial(make_all, HEADLINE)
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    ratios: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(1 if arguments.quick else 5):
        for name, make in cases.items():
            seconds[name].append(time_step(batches, make, PERIOD if arguments.quick else 2 * PERIOD))
        for name in cases:
            ratios[name].append(seconds[name][-1] / seconds["bare"][-1])
    results: dict[str, Any] = {}
    waits = {name: count_waits(batches, make) for name, make in cases.items()}
    print(f"{'one step, batch 16':26} {'ms':>22} {'cost, %':>24} {'limit, %':>9} {'waits a step':>13}")
    for name in cases:
        step, ratio = Timing.of(seconds[name]), Timing.of([100 * (r - 1) for r in ratios[name]])
        limit = "" if name == "bare" else "4" if name.startswith("three") else "2"
        extra = waits[name] - waits["bare"]
        print(f"{name:26} {step.show(1e3):>22} {ratio.show(digits=1):>24} {limit:>9} {extra:>13.1f}")
        results |= {f"{name}/seconds": step, f"{name}/cost_percent": ratio, f"{name}/waits": extra}
    series = torch.randn(200, 100_000)
    times = []
    for _ in range(3 if arguments.quick else 9):
        start = time.perf_counter()
        summarize_autocorrelation(series)
        times.append(time.perf_counter() - start)
    results["autocorrelation of 1e5 x 200/seconds"] = Timing.of(times)
    print(f"autocorrelation of 1e5 elements, 200 steps: {Timing.of(times).show()} s, limit 0.5 s")
    write_json(arguments.json, about, results)


if __name__ == "__main__":
    main()
