"""Results of a run: summary.json and the report beside it."""

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
from pytorch_lightning import LightningModule, Trainer

from matsciml import console
from matsciml.plan import RunPlan
from matsciml.predictions import PredictionCollector
from matsciml.report import write_report

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
    datamodule: Any,
    collector: PredictionCollector,
    plan: RunPlan,
    checkpoint: object,
    seconds: float,
) -> None:
    """Write summary.json and report.html into the run's directory and print the table.

    Parameters
    ----------
    trainer
        Which has just tested the model.
    model, datamodule
        What was tested, on what.
    collector
        The predictions.
    plan
        Where the run is.
    checkpoint
        Path of the checkpoint whose weights were tested; empty or None if they are in none.
    seconds
        How long it took.
    """
    statistics = datamodule.target_statistics() if hasattr(datamodule, "target_statistics") else {}
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
        "data": datamodule.describe() if hasattr(datamodule, "describe") else {},
        "hardware": hardware(trainer.strategy.root_device, trainer.world_size),
        "versions": versions(),
        "throughput": _throughput(trainer),
        "config": config,
    }
    write_json(plan.run / "summary.json", summary)
    write_report(plan.run, summary, quantities)
    console.show_results(results, plan.run)


def _relative(path: object) -> str | None:
    """Return a path relative to the current directory if it is below, as paths of a run are given."""
    if not path:
        return None
    absolute = Path(str(path)).resolve()
    here = Path.cwd().resolve()
    return str(absolute.relative_to(here) if absolute.is_relative_to(here) else absolute)


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that the file is there whole or not at all; NaN becomes null."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(_finite(value), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)


def peak_memory_mb() -> float:
    """Return the largest resident memory of this process so far, in MB (1e6 bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def hardware(device: torch.device, world_size: int) -> dict[str, Any]:
    """Return what the run ran on."""
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
    """Return the versions of the interpreter and of the packages that matter."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    """Return the processor's name, which Linux keeps in a file of its own."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown processor"


def _throughput(trainer: Trainer) -> dict[str, Any]:
    """Return the summary of a callback that measured it, if there is one."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, ThroughputCallback):
            return dict(callback.summary)
    return {}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)
