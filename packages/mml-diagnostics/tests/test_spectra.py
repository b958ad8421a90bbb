"""Files and figures of autocorrelation spectra."""

import csv

import pytest
import torch
from mml_diagnostics.spikes.autocorrelation import summarize_autocorrelation
from mml_diagnostics.spikes.spectra import CSV_FILE, append_spectra, can_plot, plot_spectra


@pytest.fixture
def spectra():
    torch.manual_seed(0)
    return {kind: summarize_autocorrelation(torch.randn(12, 3).cumsum(0)) for kind in ("updates", "v")}


def test_append_adds_rows_below_one_header(spectra, tmp_path):
    for step in (10, 20):
        path = append_spectra(tmp_path / "new", spectra, step)
    assert path == tmp_path / "new" / CSV_FILE
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["10"] * 24 + ["20"] * 24
    lags = [row for row in rows[:24] if row["kind"] == "updates"]
    assert [int(row["lag"]) for row in lags] == list(range(12))
    assert [float(row["mean"]) for row in lags] == pytest.approx(spectra["updates"].mean.tolist(), abs=1e-5)


@pytest.mark.skipif(not can_plot(), reason="requires matplotlib")
def test_plot_draws_one_line_per_kind(spectra):
    (axes,) = plot_spectra(spectra, step=10).axes
    drawn = [line for line in axes.lines if len(line.get_xdata()) == 12]
    assert [line.get_label().split()[0] for line in drawn] == ["updates", "v"]
    assert drawn[1].get_ydata().tolist() == spectra["v"].mean.tolist()
