import pytest
from lightning_fabric.utilities.exceptions import MisconfigurationException
from matsciml.cli import HELP, main, sentence
from matsciml.commands.fit_help import training_help
from matsciml.commands.predict import prediction_parser


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_fits_a_terminal(arguments, capsys):
    assert max(map(len, HELP.splitlines())) <= 80
    assert main(arguments) == 0
    assert capsys.readouterr().out == HELP


@pytest.mark.parametrize("option", ["--help", "-h"])
@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
def test_help_of_training_fits_a_terminal(command, option, capsys):
    assert main([command, "--name", "any", option]) == 0
    text = capsys.readouterr().out
    assert text == training_help(command)
    assert max(map(len, text.splitlines())) <= 80
    assert text.startswith(f"usage: matsciml {command} ")


def test_help_of_predict_has_all_its_options():
    options = {option for action in prediction_parser()._actions for option in action.option_strings}
    assert [option for option in options - {"-h", "--help"} if option not in training_help("predict")] == []


def test_all_options_are_listed_on_request(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--help-all"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for option in ("--trainer.max_epochs", "--seed_everything", "--runs_dir", "--model.help", "--data.help"):
        assert option in text


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == "matsciml 0.1.0\n"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("two\n  lines"), "two lines"),
        (KeyError("no key 'a'"), "no key 'a'"),
        (MisconfigurationException("no GPU"), "no GPU"),
        (RuntimeError("odd"), "RuntimeError: odd (--debug shows where)"),
        (ValueError(), "ValueError:  (--debug shows where)"),
        (AssertionError(), "AssertionError:  (--debug shows where)"),
    ],
)
def test_errors_become_one_line(error, text):
    assert sentence(error) == text


def test_errors_that_our_packages_raise_are_sentences_whatever_their_type():
    from mml_distributed import read_launch

    with pytest.raises(RuntimeError) as ours:
        read_launch({})
    assert sentence(ours.value).startswith("no MPI launcher")
