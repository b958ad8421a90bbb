"""Figures of the report as SVG text. They are created without pyplot, whose state does not change."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from matsciml.report.metrics import Classification, Regression
from matsciml.units import SCALE, UNITS

BLUE, ORANGE, GRAY = "#2563a8", "#d9730d", "#8a8f98"
STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#b5bac1",
    "axes.grid": True,
    "axes.labelcolor": "#30343b",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "font.family": "sans-serif",
    "font.size": 9,
    "grid.color": "#e6e8eb",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "svg.hashsalt": "matsciml",
    "xtick.color": "#5b616a",
    "ytick.color": "#5b616a",
}
Curve = list[tuple[float, float]]


def read_metrics(path: Path) -> dict[str, Curve]:
    """Return the finite values of every logged series of a metrics.csv as a list of (step, value) points.

    The value is NaN, for example, in a step without labels.

    Parameters
    ----------
    path
        Path of the file. If it does not exist, the result is empty.
    """
    series: dict[str, Curve] = {}
    if not path.is_file():
        return series
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            for key, value in row.items():
                if value and key not in ("step", "epoch") and math.isfinite(float(value)):
                    series.setdefault(key, []).append((float(row["step"]), float(value)))
    return series


def learning_curves(series: dict[str, Curve]) -> str:
    """Plot the losses, and the validation errors in physical units, against the optimizer step."""
    losses = [
        (k, label) for k, label in (("train_loss", "training"), ("val_loss", "validation")) if k in series
    ]
    if "train_loss" not in series and "train_loss_epoch" in series:
        losses.insert(0, ("train_loss_epoch", "training"))
    errors = [k for k in series if k.startswith("val_") and k.endswith(("_mae", "_accuracy"))]
    if "val_energy_per_atom_mae" in errors and "val_energy_mae" in errors:
        errors.remove("val_energy_mae")
    with rc_context(STYLE):
        figure = Figure(figsize=(9.2, 3.1), layout="constrained")
        left, right = figure.subplots(1, 2)
        for (key, label), color in zip(losses, (BLUE, ORANGE), strict=False):
            _curve(left, series[key], label, color)
        left.set(title="Loss (normalized, weighted)", xlabel="step")
        for key, color in zip(errors, (BLUE, ORANGE, "#3b8f5a", "#8a4fb0"), strict=False):
            name = key.removeprefix("val_").removesuffix("_mae")
            unit = f" MAE ({UNITS[name]})" if name in UNITS else ""
            _curve(right, series[key], name.replace("_", " ") + unit, color)
        right.set(title="Validation errors (physical units)", xlabel="step")
        for axes in (left, right):
            if axes.lines:
                axes.legend(loc="upper right")  # "best" issues a warning if the search takes long
                if all(np.all(np.asarray(line.get_ydata()) > 0) for line in axes.lines):
                    axes.set_yscale("log")
        return _svg(figure)


def parity(quantity: Regression) -> str:
    """Plot predictions against labels, and the histogram of their differences next to the baseline's."""
    factor, unit = SCALE.get(quantity.unit, (1.0, quantity.unit))
    predicted, target = factor * quantity.predicted, factor * quantity.target
    name = quantity.name.replace("_", " ")
    suffix = f" ({unit})" if unit else ""
    with rc_context(STYLE):
        figure = Figure(figsize=(9.2, 3.9), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.25))
        low, high = min(predicted.min(), target.min()), max(predicted.max(), target.max())
        margin = 0.04 * (high - low) or 1.0
        limits = (low - margin, high + margin)
        size, alpha = (14, 0.75) if target.size < 1000 else (5, 0.35)
        left.axline((0, 0), slope=1, color=GRAY, linewidth=1)
        left.scatter(
            target, predicted, s=size, alpha=alpha, color=BLUE, linewidths=0, rasterized=target.size > 1500
        )
        left.set(
            xlim=limits, ylim=limits, aspect="equal", xlabel=f"label{suffix}", ylabel=f"prediction{suffix}"
        )
        left.set_title(f"Parity: {name}")
        left.locator_params(nbins=5)
        residual, trivial = predicted - target, factor * quantity.baseline - target
        reach = float(np.quantile(np.abs(np.concatenate([residual, trivial])), 0.98)) or 1.0
        bins = np.linspace(-reach, reach, 61)
        right.hist(np.clip(trivial, -reach, reach), bins, color=GRAY, alpha=0.45, label="trivial baseline")
        right.hist(np.clip(residual, -reach, reach), bins, color=BLUE, alpha=0.8, label="model")
        right.set(title="Residuals: prediction - label", xlabel=f"difference{suffix}", ylabel="count")
        right.legend(loc="upper right")
        return _svg(figure)


def confusion(quantity: Classification) -> str:
    """Plot true against predicted classes. Each row shows fractions of the true class."""
    classes = np.unique(np.concatenate([quantity.target, quantity.predicted]))
    counts = np.zeros((len(classes), len(classes)))
    rows, columns = np.searchsorted(classes, quantity.target), np.searchsorted(classes, quantity.predicted)
    np.add.at(counts, (rows, columns), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    with rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(5.2, 4.4), layout="constrained")
        axes = figure.subplots()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        names = [quantity.name_of(int(label)) for label in classes]
        if len(classes) <= 12:
            axes.set_xticks(range(len(classes)), names)
            axes.set_yticks(range(len(classes)), names)
            for (i, j), count in np.ndenumerate(counts):
                if count:
                    color = "white" if shares[i, j] > 0.55 else "#30343b"
                    axes.text(j, i, f"{int(count)}", ha="center", va="center", color=color)
        axes.set(title=f"Classes: {quantity.name.replace('_', ' ')}", xlabel="predicted", ylabel="true")
        return _svg(figure)


def _curve(axes: Axes, points: Curve, label: str, color: str) -> None:
    steps, values = zip(*points, strict=True)
    axes.plot(
        steps, values, color=color, linewidth=1.4, marker="o" if len(points) < 40 else "", markersize=2.5
    )
    axes.lines[-1].set_label(label)


def _svg(figure: Figure) -> str:
    """Return a figure as an <svg> element, without the XML prologue."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", dpi=160, transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def figures(quantities: Iterable[Regression | Classification]) -> dict[str, str]:
    """Return a mapping from the name of each quantity that has labels to its figure."""
    labeled = [q for q in quantities if q.target.size]
    return {q.name: parity(q) if isinstance(q, Regression) else confusion(q) for q in labeled}
