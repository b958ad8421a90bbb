"""Accuracy and cost of each encoder after the same training, on three data sets.

The targets are the energies and forces of `emt` (embedded) and of the LiPS trajectory (if ../shared/data
contains it), and the density of `prototypes`. Every available encoder of mml-models gets the same width,
number of layers, cutoff, batches, optimizer, learning rates and number of epochs, and 2 threads. No encoder
is tuned. The error is the mean absolute error on the test split after the last epoch. The cost is the median
time of a training step. If the first steps of an encoder predict more than ten minutes for a data set, it is
not trained on that data set, and its name is printed. After each training, the JSON file, the tables (.md)
and the picture (.svg) are rewritten. `--keep` keeps the results in the file from the same kind of machine and
the same versions, and trains only the rest. Use it to continue an interrupted run, or to add encoders that
require a separate environment. Without it, everything is trained, which is required after an encoder changed.

    uv run python benchmarks/accuracy.py [--quick] [--only DATA] [--json FILE [--keep]]
"""

from __future__ import annotations

import inspect
import json
import logging
import statistics
import sys
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import mml_models
import pytorch_lightning as pl
import torch
from accuracy_picture import draw
from harness import Timing, describe_machine, parse_arguments, write_json
from mml_data import MatSciMLDataModule
from mml_graphs import PeriodicPropertiesTransform, PointCloudToGraphTransform
from mml_tasks import ForceRegressionTask, ScalarRegressionTask
from torch import nn
from torch.utils.data import Dataset

THREADS = 2
WIDTH = 32
LAYERS = 2
CUTOFF = 5.0  # angstrom
RATE = 3e-3
PATIENCE = 600  # longest training of an encoder on one data set, in seconds
LIPS = Path(__file__).resolve().parents[2] / "shared" / "data" / "lips.jsonl"


@dataclass(frozen=True)
class Training:
    """A data set, the length of its training, and the compared metric."""

    batch_size: int
    epochs: int
    metric: str
    unit: str


TRAININGS = {
    "emt": Training(16, 20, "force_mae", "eV/angstrom"),
    "prototypes": Training(32, 40, "density_mae", "g/cm^3"),
    "lips": Training(4, 40, "force_mae", "eV/angstrom"),
}


@dataclass(frozen=True)
class Outcome:
    """The result of a training."""

    parameters: int
    step: Timing
    errors: dict[str, float]


Results = dict[str, dict[str, Outcome]]


class TooSlowError(Exception):
    """The first steps of a training predict that it takes longer than `PATIENCE`."""


class Frames(Dataset[dict[str, Any]]):
    """The frames of the LiPS trajectory."""

    def __init__(self, path: Path) -> None:
        self.records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.records)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return a frame as a sample."""
        record = self.records[index]
        return {
            "atomic_numbers": torch.tensor(record["atomic_numbers"]),
            "pos": torch.tensor(record["positions"]),
            "cell": torch.tensor([record["cell"]]),
            "targets": {
                "energy": record["targets"]["energy"],
                "force": torch.tensor(record["targets"]["force"]),
            },
            "target_types": {"regression": ["energy", "force"]},
        }


class Clock(pl.Callback):
    """Measures training steps without the creation of batches, and stops a training that takes too long."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._started = 0.0

    def on_train_batch_start(self, *_: Any) -> None:
        """Start."""
        self._started = time.perf_counter()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Record the step, and predict the total time after ten steps."""
        self.seconds.append(time.perf_counter() - self._started)
        if len(self.seconds) == 10:
            step = statistics.median(self.seconds)
            if step * trainer.estimated_stepping_batches > PATIENCE:
                raise TooSlowError(f"{step:.1f} s per step")


def make_encoders() -> dict[str, nn.Module]:
    """Create every available encoder of mml-models that needs no function from the user."""
    sizes: dict[str, Any] = {"hidden_dim": WIDTH, "output_dim": WIDTH, "num_conv": LAYERS, "cutoff": CUTOFF}
    made = {}
    for info in mml_models.list_encoders():
        if info.name == "GenericEncoder":
            continue
        if not info.is_installed:
            print(f"skipped {info.name}: {info.install}")
            continue
        kind = getattr(mml_models, info.name)
        known = inspect.signature(kind).parameters
        torch.manual_seed(0)
        made[info.name] = kind(**{key: value for key, value in sizes.items() if key in known})
    return made


def make_data(name: str) -> MatSciMLDataModule:
    """Return the data module of a data set."""
    options: dict[str, Any] = {
        "batch_size": TRAININGS[name].batch_size,
        "seed": 0,
        "transforms": [
            PeriodicPropertiesTransform(CUTOFF, adaptive_cutoff=True),
            PointCloudToGraphTransform("pyg"),
        ],
    }
    if name == "lips":
        return MatSciMLDataModule(Frames(LIPS), val_split=0.1, test_split=0.1, **options)
    return MatSciMLDataModule.from_devset(name, **options)


def train(encoder: nn.Module, name: str, epochs: int, steps: int | None) -> Outcome:
    """Train an encoder on a data set; `steps` limits the steps of an epoch and of the test."""
    pl.seed_everything(0, verbose=False)
    options: dict[str, Any] = {
        "normalize_kwargs": "auto",
        "lr": RATE,
        "scheduler_kwargs": {"OneCycleLR": {}},
    }
    task: pl.LightningModule
    if name == "prototypes":
        task = ScalarRegressionTask(encoder, task_keys=["density"], **options)
    else:
        weights = {"energy": 10.0, "force": 1.0}
        task = ForceRegressionTask(encoder, task_loss_scaling=weights, **options)
    clock = Clock()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        limit_train_batches=steps,
        limit_val_batches=0,
        limit_test_batches=steps,
        gradient_clip_val=10.0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[clock],
    )
    data = make_data(name)
    trainer.fit(task, datamodule=data)
    (errors,) = trainer.test(task, datamodule=data, verbose=False)
    return Outcome(
        sum(p.numel() for p in encoder.parameters()),
        Timing.of(clock.seconds),
        {key.removeprefix("test_"): value for key, value in errors.items() if key.endswith("_mae")},
    )


def read_results(path: Path, about: dict[str, str]) -> Results:
    """Return the results in a file that come from the same machine and the same versions."""
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if found.get("about") != about:
        return {}
    return {
        name: {
            encoder: Outcome(outcome["parameters"], Timing(**outcome["step"]), outcome["errors"])
            for encoder, outcome in outcomes.items()
        }
        for name, outcomes in found["results"].items()
    }


def table(name: str, outcomes: dict[str, Outcome], about: dict[str, str], quick: bool) -> str:
    """Return the results of a data set as Markdown."""
    training = TRAININGS[name]
    length = f"{training.epochs} epochs"
    if quick:
        length = "five steps to try the command (no measure of the encoders),"
    shown = [key for key in next(iter(outcomes.values())).errors if key != "energy_mae"]
    lines = [
        f"**{name}**: {length} in batches of {training.batch_size}; {about['machine']}, "
        f"torch {about['torch']}",
        "",
        "| encoder | parameters | step, ms | " + " | ".join(k.replace("_", " ") for k in shown) + " |",
        "|---|---|---|" + "---|" * len(shown),
    ]
    for encoder, outcome in sorted(outcomes.items(), key=lambda item: item[1].errors[training.metric]):
        errors = " | ".join(f"{outcome.errors[key]:.4g}" for key in shown)
        lines.append(f"| {encoder} | {outcome.parameters:,} | {outcome.step.median * 1e3:.0f} | {errors} |")
    return "\n".join(lines) + "\n"


def write_results(path: Path, results: Results, about: dict[str, str], quick: bool) -> None:
    """Write the numbers to `path`, and the tables and the picture next to it."""
    results = {name: results[name] for name in TRAININGS if name in results}
    plain = {name: {key: asdict(value) for key, value in found.items()} for name, found in results.items()}
    write_json(path, about, plain)
    tables = [table(name, found, about, quick) for name, found in results.items()]
    path.with_suffix(".md").write_text("\n".join(tables), encoding="utf-8")
    panels = {}
    for name, found in results.items():
        metric, unit = TRAININGS[name].metric, TRAININGS[name].unit
        panels[f"{name}: {metric.removesuffix('_mae')}, {unit}"] = {
            encoder: (1e3 * outcome.step.median, outcome.errors[metric]) for encoder, outcome in found.items()
        }
    draw(panels, path.with_suffix(".svg"))


def main() -> int:
    """Train all encoders, print the tables, and write the numbers, the tables and the picture."""
    options = parse_arguments(__doc__, tuple(TRAININGS), keeps=True)
    torch.set_num_threads(THREADS)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    logging.getLogger("mml_data").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    about = describe_machine("torch", "mml-models")
    names = [options.only] if options.only else list(TRAININGS)
    if not LIPS.is_file() and "lips" in names:
        names.remove("lips")
        print(f"skipped the LiPS trajectory: {LIPS} does not exist")
    about["training"] = "five steps" if options.quick else "whole"
    results: Results = read_results(options.json, about) if options.json and options.keep else {}
    for name in names:
        epochs, steps = (1, 5) if options.quick else (TRAININGS[name].epochs, None)
        outcomes = results.get(name, {})
        for encoder_name, encoder in make_encoders().items():
            if encoder_name in outcomes:
                continue
            started = time.perf_counter()
            try:
                outcomes[encoder_name] = train(encoder, name, epochs, steps)
            except TooSlowError as error:
                print(f"{name}: skipped {encoder_name}: {error}", flush=True)
                continue
            print(f"{name}: {encoder_name} in {time.perf_counter() - started:.0f} s", flush=True)
            results[name] = outcomes
            if options.json is not None:
                write_results(options.json, results, about, options.quick)
        if outcomes:
            print("\n" + table(name, outcomes, about, options.quick), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
