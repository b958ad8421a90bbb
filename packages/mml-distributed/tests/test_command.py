import runpy
import sys

import pytest
from mml_distributed.command import main


def test_check_without_launcher_fails(launched, capsys):
    assert main(["check"]) == 1
    assert capsys.readouterr().err.startswith("mml-distributed check: No MPI launcher started this process")


def test_unknown_command_lists_commands(capsys):
    with pytest.raises(SystemExit):
        main(["chekc"])
    assert "check" in capsys.readouterr().err


def test_module_runs_command(launched, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["mml_distributed", "chekc"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_module("mml_distributed", run_name="__main__")
    assert stop.value.code == 2
    assert "usage: mml-distributed" in capsys.readouterr().err
