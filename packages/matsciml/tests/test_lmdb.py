import io

import pytest
from matsciml.cli import main


@pytest.mark.parametrize("graph", [[], ["-p", "-r", "4.0"], ["-p", "-a", "-g", "pyg"]])
def test_one_sample_is_printed(graph, capsys):
    assert main(["data", "check-sample", "emt", "3", *graph]) == 0
    shown = capsys.readouterr().out
    assert "atomic_numbers" in shown
    assert "energy" in shown
    assert ("distances" in shown) == ("-p" in graph)
    assert ("graph" in shown) == ("-g" in graph)


def test_the_structure_of_a_data_set_is_printed(capsys):
    assert main(["data", "print-structure", "emt", "-d", "LiPSDataset"]) == 0
    shown = capsys.readouterr().out
    assert "1,527" in shown
    assert "in its first sample" in shown


def test_statistics_of_some_samples(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["data", "dump-statistics", "emt", "-p", "-n", "20", "-w", "5"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("20 samples; moving means over 5")
    assert [line.split("  ")[0] for line in shown[2:]] == [
        "atoms",
        "edges",
        "edges per atom",
        "mean edge length",
        "energy",
    ]
    assert max(map(len, shown)) <= 80


def test_a_session_has_the_data_set(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("print(len(dataset) + 1)\n"))
    assert main(["data", "interactive", "emt"]) == 0
    assert "1528" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["check-sample", "emt", "1527"], "INDEX 1527 is not one of the 1,527 samples"),
        (["check-sample", "nowhere", "0"], "nowhere"),
        (["dump-statistics", "emt", "-n", "0"], "--num_samples and --window_size must be at least 1"),
        (["check-sample", "emt", "0", "-p", "-r", "-2"], "-2"),
    ],
)
def test_mistakes_are_said(arguments, said, capsys):
    assert main(["data", *arguments]) == 1
    assert said in capsys.readouterr().err
