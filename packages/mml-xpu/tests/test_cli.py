import subprocess
import sys

import pytest
import torch
from mml_xpu import check, cli, tiles
from mml_xpu.tiles import Card


def test_check_passes_on_cpu(capsys):
    assert cli.main(["check", "--cpu", "--size", "64"]) == 0
    output = capsys.readouterr().out
    assert f"torch {torch.__version__}" in output
    assert output.count(": agrees, relative difference") == 4
    assert "bfloat16 products of 64 x 64" in output
    assert output.endswith("All results agree with the CPU.\n")


def test_check_fails_without_gpu(capsys, no_xpu):
    assert cli.main(["check"]) == 1
    assert "Intel GPU" in capsys.readouterr().out


def test_check_reports_wrong_result(capsys, monkeypatch):
    monkeypatch.setattr(
        check, "compare_training_step", lambda device, autocast=False: check.Comparison("steps", 0.5, 0.01)
    )
    assert cli.main(["check", "--cpu", "--size", "8"]) == 1
    output = capsys.readouterr().out
    assert "steps: WRONG, relative difference 5.0e-01 (at most 1e-02)" in output
    assert "Some checks failed. See WRONG above." in output


def test_check_lists_devices_despite_driver_errors(capsys, monkeypatch, two_xpus):
    """The stand-in has no kernels, so the report contains torch's error for each device."""
    monkeypatch.setattr(tiles, "read_cards", lambda: [Card("0000:3a:00.0", 2)])
    monkeypatch.delenv(tiles.HIERARCHY, raising=False)
    monkeypatch.setenv(tiles.MASK, "0,1")
    assert cli.main(["check"]) == 1
    output = capsys.readouterr().out
    assert "ZE_AFFINITY_MASK=0,1" in output
    assert "card 0000:3a:00.0: 2 compute tiles" in output
    assert "xpu:1 is tile 1 of the card 0000:3a:00.0" in output
    assert "a stand-in: 0.0 GiB, 0.0 GiB free, 7 compute units, driver 1.2" in output
    assert output.count("  WRONG: ") == 2
    monkeypatch.setenv(tiles.HIERARCHY, "TILES")
    assert cli.main(["check"]) == 1
    assert (
        "WRONG: ZE_FLAT_DEVICE_HIERARCHY must be FLAT, COMPOSITE or COMBINED, got 'TILES'"
        in capsys.readouterr().out
    )


@pytest.mark.parametrize("arguments", [[], ["chek"], ["check", "--size", "0"], ["check", "--size", "x"]])
def test_main_rejects_unknown_arguments(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    assert "mml-xpu" in capsys.readouterr().err


def test_check_runs_as_module():
    command = [sys.executable, "-W", "ignore", "-m", "mml_xpu", "check", "--cpu", "--size", "16"]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert (finished.returncode, finished.stdout.splitlines()[-1]) == (
        0,
        "All results agree with the CPU.",
    ), finished.stderr
