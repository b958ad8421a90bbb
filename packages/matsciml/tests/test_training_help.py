import pytest
from matsciml.cli import main
from matsciml.commands.predict import prediction_parser
from matsciml.commands.training_help import DIAGNOSE, training_help


@pytest.mark.parametrize("option", ["--help", "-h"])
@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict", "diagnose"])
def test_help_fits_terminal(command, option, capsys):
    assert main([command, "--name", "any", option]) == 0
    text = capsys.readouterr().out
    assert text == (DIAGNOSE if command == "diagnose" else training_help(command))
    assert max(map(len, text.splitlines())) <= 80
    assert text.startswith(f"usage: matsciml {command} ")


def test_predict_help_lists_all_options():
    options = {option for action in prediction_parser()._actions for option in action.option_strings}
    assert [option for option in options - {"-h", "--help"} if option not in training_help("predict")] == []
