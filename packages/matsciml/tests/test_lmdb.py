import io

import pytest
from matsciml.cli import main


@pytest.mark.parametrize("graph", [[], ["-p", "-r", "4.0"], ["-p", "-a", "-g", "pyg"]])
def test_check_sample_prints_sample(graph, capsys):
    assert main(["data", "check-sample", "emt", "3", *graph]) == 0
    shown = capsys.readouterr().out
    assert "atomic_numbers" in shown
    assert "energy" in shown
    assert ("distances" in shown) == ("-p" in graph)
    assert ("graph" in shown) == ("-g" in graph)


def test_print_structure_prints_first_sample(capsys):
    assert main(["data", "print-structure", "emt", "-d", "LiPSDataset"]) == 0
    shown = capsys.readouterr().out
    assert "1,527" in shown
    assert "first sample" in shown


def test_dump_statistics_prints_means(capsys, monkeypatch):
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


def test_session_has_dataset(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("print(len(dataset) + 1)\n"))
    assert main(["data", "interactive", "emt"]) == 0
    assert "1528" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check-sample", "emt", "1527"], "INDEX must be from 0 to 1,526, the last sample"),
        (["check-sample", "nowhere", "0"], "nowhere"),
        (["dump-statistics", "emt", "-n", "0"], "--num_samples and --window_size must be at least 1"),
        (["check-sample", "emt", "0", "-p", "-r", "-2"], "-2"),
    ],
)
def test_invalid_arguments_raise(arguments, message, capsys):
    assert main(["data", *arguments]) == 1
    assert message in capsys.readouterr().err
