"""Write autocorrelation spectra to a file, and plot them."""

import csv
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mml_diagnostics.spikes.autocorrelation import Spectrum

CSV_FILE = "autocorrelation.csv"
PNG_FILE = "autocorrelation.png"


def append_spectra(directory: Path, spectra: Mapping[str, Spectrum], step: int) -> Path:
    """Append ``step, kind, lag, mean, std`` for each lag to ``autocorrelation.csv`` in ``directory``."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / CSV_FILE
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(("step", "kind", "lag", "mean", "std"))
        for kind, spectrum in spectra.items():
            pairs = zip(spectrum.mean.tolist(), spectrum.std.tolist(), strict=True)
            writer.writerows(
                (step, kind, lag, f"{mean:.6g}", f"{std:.6g}") for lag, (mean, std) in enumerate(pairs)
            )
    return path


def can_plot() -> bool:
    """Return whether matplotlib is installed, which draws the figures."""
    return importlib.util.find_spec("matplotlib") is not None


def plot_spectra(spectra: Mapping[str, Spectrum], step: int) -> Any:
    """Plot mean and standard deviation by lag, one line per kind, and return a figure without a window."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for kind, spectrum in spectra.items():
        lags = range(len(spectrum.mean))
        (line,) = axes.plot(lags, spectrum.mean, label=f"{kind} ({spectrum.num_moving} elements)")
        low, high = spectrum.mean - spectrum.std, spectrum.mean + spectrum.std
        axes.fill_between(lags, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
    axes.axhline(0, color="black", linewidth=0.5)
    axes.set(xlabel="lag / steps", ylabel="autocorrelation", ylim=(-1.05, 1.05), title=f"step {step}")
    axes.legend(loc="upper right")  # "best" warns if the search for a location takes long
    return figure
