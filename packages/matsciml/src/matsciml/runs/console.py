"""Console output of a run, 80 columns wide: a few lines before training and a short table after it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning_utilities.core.rank_zero import rank_zero_only
from pytorch_lightning import LightningDataModule, LightningModule, Trainer
from rich.console import Console
from rich.table import Table

from matsciml.runs.plan import RunPlan
from matsciml.units import SCALE, SPLITS


@rank_zero_only
def say(text: str) -> None:
    """Print a message on rank 0.

    Parameters
    ----------
    text
        Plain text.
    """
    Console(highlight=False, soft_wrap=True).print(text, markup=False)


def say_start(
    trainer: Trainer,
    model: LightningModule,
    datamodule: LightningDataModule | None,
    plan: RunPlan,
    notes: Sequence[str] = (),
) -> None:
    """Print the data, the model, the device and the output directory of a fit.

    Parameters
    ----------
    trainer, model, datamodule, plan
        Trainer, module, data module and plan of the fit.
    notes
        Additional lines.
    """
    encoder = getattr(model, "encoder", None)
    inner = f"({type(encoder).__name__})" if encoder is not None else ""
    parameters = sum(
        p.numel() for p in model.parameters() if not isinstance(p, torch.nn.UninitializedParameter)
    )
    verb = "continues" if plan.continued else "writes"
    device = trainer.strategy.root_device
    count, unit = (
        (torch.get_num_threads(), "thread") if device.type == "cpu" else (trainer.world_size, "device")
    )
    number = f", {count} {unit}{'s' if count > 1 else ''}"
    say(
        f"matsciml fit {verb} {plan.run}\n"
        f"  data    {_data_line(datamodule)}\n"
        f"  model   {type(model).__name__}{inner}, {parameters:,} parameters\n"
        f"  device  {device.type}{number}; at most {_length(trainer)}"
        + "".join(f"\n  {line}" for line in [*_start(plan), *notes])
    )


def _start(plan: RunPlan) -> list[str]:
    """Describe the checkpoint that a fit starts from."""
    if plan.checkpoint:
        schedule = f", --schedule {plan.schedule}" if plan.schedule else ""
        return [f"from    {plan.checkpoint}{schedule}"]
    if plan.init_from:
        return [f"from    the weights of {plan.init_from}, --normalizer {plan.normalizer}"]
    return []


def _data_line(datamodule: LightningDataModule | None) -> str:
    """Describe the data in one line, or return the data module's type if it has no ``describe`` method."""
    if datamodule is None or not hasattr(datamodule, "describe"):
        return type(datamodule).__name__
    about = datamodule.describe()
    counts = " / ".join(f"{count:,} {split}" for split, count in about["counts"].items() if split in SPLITS)
    return f"{about['name']}: {counts} structures"


def _length(trainer: Trainer) -> str:
    epochs = f"{trainer.max_epochs} epochs" if (trainer.max_epochs or -1) > 0 else "unlimited epochs"
    return f"{epochs}, {trainer.max_steps} steps" if trainer.max_steps > 0 else epochs


@rank_zero_only
def show_results(results: dict[str, dict[str, Any]], directory: Path) -> None:
    """Print the errors on held-out data next to those of the trivial baseline.

    Parameters
    ----------
    results
        Errors of each quantity, in the format of summary.json.
    directory
        Directory of the run.
    """
    console = Console(highlight=False, soft_wrap=False)
    for name, v in results.items():
        if missing := v.get("missing"):
            none = f"none of the {missing:,} structures has a label"
            say(f"{name.replace('_', ' ')}: {f'missing in {missing:,} structures' if v['count'] else none}")
    results = {name: v for name, v in results.items() if v["count"]}
    regression = {k: v for k, v in results.items() if "mae" in v}
    if regression:
        table = Table(title="held-out test data", title_justify="left", box=None, pad_edge=False)
        table.add_column("quantity")
        for column in ("unit", "MAE", "RMSE", "R²", "baseline MAE", "MAE / baseline"):
            table.add_column(column, justify="right" if column != "unit" else "left")
        for name, v in regression.items():
            factor, unit = SCALE.get(v["unit"], (1.0, v["unit"]))
            ratio = f"{v['mae'] / v['baseline_mae']:.0%}" if v["baseline_mae"] else "-"
            numbers = [f"{factor * v[k]:.4g}" for k in ("mae", "rmse")]
            baseline = f"{factor * v['baseline_mae']:.4g}"
            table.add_row(name.replace("_", " "), unit, *numbers, f"{v['r2']:.4f}", baseline, ratio)
        console.print(table)
    classes = {k: v for k, v in results.items() if "accuracy" in v}
    if classes:
        table = Table(title="held-out test data", title_justify="left", box=None, pad_edge=False)
        table.add_column("label")
        for column in ("accuracy", "balanced", "baseline accuracy"):
            table.add_column(column, justify="right")
        for name, v in classes.items():
            numbers = [f"{v[k]:.1%}" for k in ("accuracy", "balanced_accuracy", "baseline_accuracy")]
            table.add_row(name.replace("_", " "), *numbers)
        console.print(table)
    say(f"report: {directory}/report.html")
