from pathlib import Path

import numpy as np
from matsciml.report.metrics import Classification, Regression
from matsciml.runs.console import say, show_results


def test_results_fit_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    rng = np.random.default_rng(0)
    label, classes = rng.normal(size=50), rng.integers(0, 4, 50)
    quantities = [
        Regression("energy_per_atom", "eV/atom", label + 0.1, label, 0.0),
        Regression("force", "eV/Å", label + 0.01, label, 0.0),
        Classification("crystal_system", classes, classes, 0),
    ]
    show_results({each.name: each.errors() for each in quantities}, Path("runs/fit"))
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert "meV/atom 100" in " ".join(shown.split())
    assert "100.0%" in shown
    assert shown.endswith("report: runs/fit/report.html\n")


def test_markup_is_printed_unchanged(capsys):
    say("encoder [bold]SchNet[/] " + "x" * 100)
    assert capsys.readouterr().out == "encoder [bold]SchNet[/] " + "x" * 100 + "\n"
