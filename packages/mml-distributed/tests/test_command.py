import pytest
from mml_distributed.command import main


def test_without_a_launcher_it_says_how_to_start(launched, capsys):
    assert main(["check"]) == 1
    assert capsys.readouterr().err.startswith("mml-distributed check: No MPI launcher started this process")


def test_another_command_lists_those_there_are(capsys):
    with pytest.raises(SystemExit):
        main(["chekc"])
    assert "check" in capsys.readouterr().err
