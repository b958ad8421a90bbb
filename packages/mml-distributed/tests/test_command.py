import pytest
from mml_distributed.command import main


def test_check_without_launcher_fails(launched, capsys):
    assert main(["check"]) == 1
    assert capsys.readouterr().err.startswith("mml-distributed check: No MPI launcher started this process")


def test_unknown_command_lists_commands(capsys):
    with pytest.raises(SystemExit):
        main(["chekc"])
    assert "check" in capsys.readouterr().err
