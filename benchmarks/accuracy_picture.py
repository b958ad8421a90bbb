"""The picture of `accuracy.py`: error against time per step, one panel per data set."""

from __future__ import annotations

from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure
from matsciml.report.plots import BLUE, STYLE


def draw(panels: dict[str, dict[str, tuple[float, float]]], path: Path) -> None:
    """Draw the point (milliseconds, error) of each encoder, and write an SVG file."""
    with rc_context(STYLE | {"svg.fonttype": "none"}):
        figure = Figure(figsize=(3.6 * len(panels), 3.2), layout="constrained")
        all_axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, (title, points) in zip(all_axes, panels.items(), strict=True):
            axes.set(title=title, xlabel="step, ms", ylabel="mean absolute error")
            by_cost = sorted(points.items(), key=lambda point: point[1])
            for number, (name, (cost, error)) in enumerate(by_cost):
                axes.plot(cost, error, "o", color=BLUE)
                below = number % 2  # keeps the labels of adjacent points apart
                axes.annotate(name, (cost, error), (5, -11 if below else 4), textcoords="offset points")
            axes.set_xlim(0, 1.35 * max(cost for cost, _ in points.values()))  # leaves room for the labels
            axes.set_ylim(0, 1.15 * max(error for _, error in points.values()))
        figure.savefig(path, format="svg", metadata={"Date": None})
