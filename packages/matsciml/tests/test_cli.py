import pytest
from lightning_fabric.utilities.exceptions import MisconfigurationException
from matsciml.cli import HELP, main, sentence


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_fits_a_terminal(arguments, capsys):
    assert max(map(len, HELP.splitlines())) <= 80
    assert main(arguments) == 0
    assert capsys.readouterr().out == HELP


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
