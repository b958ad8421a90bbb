"""Results of a run: summary.json and the report."""

from __future__ import annotations

import json
import math
import os
import platform
import resource
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import yaml
from mml_diagnostics import ThroughputCallback
from pytorch_lightning import LightningDataModule, LightningModule, Trainer

from matsciml.report.page import write_report
from matsciml.report.predictions import PredictionCollector
from matsciml.runs import console
from matsciml.runs.plan import RunPlan

PACKAGES = (
    "matsciml",
    "mml-graphs",
    "mml-data",
    "mml-models",
    "mml-tasks",
    "mml-diagnostics",
    "torch",
    "torch-geometric",
    "pytorch-lightning",
    "numpy",
)


def write_results(
    trainer: Trainer,
    model: LightningModule,
    datamodule: LightningDataModule | None,
    collector: PredictionCollector,
    plan: RunPlan,
    checkpoint: object,
    seconds: float,
) -> None:
    """Write summary.json and report.html to the run's directory, and print the table of errors.

    Parameters
    ----------
    trainer
        Trainer that has just tested the model.
    model, datamodule
        Tested module and its data module.
    collector
        Callback that has collected the predictions.
    plan
        Plan of the run.
    checkpoint
        Path of the checkpoint whose weights were tested. Empty or None if no checkpoint contains them.
    seconds
        Duration of the run in seconds.
    """
    statistics: dict[str, dict[str, Any]] = getattr(datamodule, "target_statistics", dict)()
    quantities = collector.quantities(statistics)
    results = {quantity.name: quantity.errors() for quantity in quantities}
    config = yaml.safe_load((plan.run / "config.yaml").read_text(encoding="utf-8"))
    summary = {
        "test": results,
        "run": plan.run.name,
        "command": plan.command,
        "checkpoint": _relative(checkpoint),
        "epochs": trainer.current_epoch,
        "steps": trainer.global_step,
        "seconds": round(seconds, 1),
        "peak_memory_mb": round(peak_memory_mb(), 1),
        "parameters": sum(p.numel() for p in model.parameters()),
        "data": getattr(datamodule, "describe", dict)(),
        "hardware": hardware(trainer.strategy.root_device, trainer.world_size),
        "versions": versions(),
        "throughput": _throughput(trainer),
        "config": config,
    }
    write_json(plan.run / "summary.json", summary)
    write_report(plan.run, summary, quantities)
    console.show_results(results, plan.run)


def _relative(path: object) -> str | None:
    """Return a path relative to the current directory if it is inside it, and an absolute path otherwise."""
    if not path:
        return None
    absolute = Path(str(path)).resolve()
    here = Path.cwd().resolve()
    return str(absolute.relative_to(here) if absolute.is_relative_to(here) else absolute)


def write_json(path: Path, value: object) -> None:
    """Write a JSON file atomically. NaN and infinite values become null."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(_finite(value), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)


def peak_memory_mb() -> float:
    """Return the peak resident memory of this process so far, in MB (1e6 bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def hardware(device: torch.device, world_size: int) -> dict[str, str | int | None]:
    """Return a description of the hardware of the run."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {
        "device": device.type,
        "name": name,
        "devices": world_size,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """Return the versions of the Python interpreter and of the most important packages."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    """Return the name of the processor. On Linux, it is read from /proc/cpuinfo."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown processor"


def _throughput(trainer: Trainer) -> dict[str, object]:
    """Return the summary of a `ThroughputCallback`, or an empty dict if the trainer does not have one."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, ThroughputCallback):
            return dict(callback.summary)
    return {}


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)
