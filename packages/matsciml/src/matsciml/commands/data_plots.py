"""The plot of `matsciml data stats --plot`."""

from __future__ import annotations

from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mml_data.store.stored_dataset import StoredDataset

from matsciml.report.plots import BLUE, ORANGE, STYLE

MOST_SAMPLES = 20_000
MOST_ELEMENTS = 30
COLUMNS = 2


def plot_statistics(path: Path, split: str, file: Path) -> None:
    """Plot the distributions of elements, numbers of atoms and targets.

    If the data set has more than 20,000 samples, only every n-th sample is read for the targets.

    Parameters
    ----------
    path
        Directory of the data set.
    split
        Name of a recorded split, or ``"all"``.
    file
        File to write. Its suffix selects the format.

    Raises
    ------
    ValueError
        If the split does not exist, or if the file format is not supported.
    """
    dataset = StoredDataset(path, split=None if split == "all" else split)
    about = dataset.manifest.statistics[split]
    values = _values(dataset)
    with rc_context(STYLE):
        rows = ceil((2 + len(values)) / COLUMNS)
        figure = Figure(figsize=(9.0, 2.6 * rows), layout="constrained")
        axes = list(figure.subplots(rows, COLUMNS, squeeze=False).ravel())
        _elements(axes[0], about["elements"])
        _sizes(axes[1], dataset.sizes())
        for axis, (name, numbers) in zip(axes[2:], values.items(), strict=False):
            unit = dataset.manifest.schema.get(f"targets.{name}", {}).get("units")
            _target(axis, name, unit, numbers, about["targets"][name])
        for axis in axes[2 + len(values) :]:
            axis.set_axis_off()
        figure.suptitle(f"{dataset.name} ({split}): {about['count']:,} structures", x=0.01, ha="left")
        try:
            figure.savefig(file, dpi=150)
        except ValueError as error:
            raise ValueError(f"--plot {file} failed: {error}") from error


def _values(dataset: StoredDataset) -> dict[str, np.ndarray]:
    """Return all numbers of each target, without missing ones."""
    step = ceil(len(dataset) / MOST_SAMPLES)
    found: dict[str, list[np.ndarray]] = {}
    for index in range(0, len(dataset), step):
        for name, value in dataset.stored(index).get("targets", {}).items():
            found.setdefault(name, []).append(np.asarray(value, dtype=np.float64).ravel())
    joined = {name: np.concatenate(values) for name, values in found.items()}
    return {name: values[np.isfinite(values)] for name, values in joined.items()}


def _elements(axis: Axes, elements: dict[str, int]) -> None:
    listed = sorted(elements.items(), key=lambda item: -item[1])
    shown = listed[:MOST_ELEMENTS]
    axis.bar([name for name, _ in shown], [count for _, count in shown], color=BLUE)
    rest = f" ({MOST_ELEMENTS} most frequent of {len(listed)})" if len(listed) > MOST_ELEMENTS else ""
    axis.set_title(f"atoms of each element{rest}")
    axis.tick_params(axis="x", labelsize=7 if len(shown) < 20 else 5.5)


def _sizes(axis: Axes, sizes: np.ndarray) -> None:
    low, high = int(sizes.min()), int(sizes.max())
    step = max(1, ceil((high - low + 1) / 40))
    axis.hist(sizes, bins=list(np.arange(low, high + step + 1, step) - 0.5), color=BLUE)
    axis.set_title("structures by number of atoms")
    axis.set_xlabel("atoms")


def _target(axis: Axes, name: str, unit: str | None, values: np.ndarray, about: dict[str, Any]) -> None:
    axis.set_title(name)
    if "classes" in about:
        labels = [str(label) for label in about["classes"]]
        axis.bar(labels, about["class_counts"], color=ORANGE)
        if len(labels) > 30:
            axis.set_xticks([])
        axis.set_xlabel(f"{len(labels)} classes")
        return
    if values.size:
        axis.hist(values, bins=60, color=ORANGE)
    if values.size and np.ptp(values) > 0 and values.ndim:
        axis.set_yscale("log")
    axis.set_xlabel(unit or "unknown unit")
    axis.set_ylabel("values")
