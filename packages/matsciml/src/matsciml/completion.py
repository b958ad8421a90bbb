"""`matsciml completion SHELL`: the script that lets a shell complete the command line."""

from __future__ import annotations

import argparse
import inspect
from importlib.util import find_spec

from pytorch_lightning import Trainer

from matsciml.data_command import add_data_commands
from matsciml.new_config import init_parser
from matsciml.predict_command import prediction_parser

SHELLS = ("bash", "zsh")
TRAINING = ("fit", "validate", "test", "diagnose")


def run_completion(arguments: list[str]) -> int:
    """Print the script and return the exit status.

    Parameters
    ----------
    arguments
        What follows ``completion`` on the command line.

    Raises
    ------
    ImportError
        shtab, which writes it, is not installed; the message holds the install command.
    """
    options = completion_parser().parse_args(arguments)
    if find_spec("shtab") is None:
        raise ImportError("completion scripts are written by shtab: pip install 'matsciml[completion]'")
    import shtab

    print(shtab.complete(command_parser(), options.shell))  # noqa: T201
    return 0


def completion_parser() -> argparse.ArgumentParser:
    """Make the parser of what follows ``completion`` on the command line."""
    parser = argparse.ArgumentParser(
        prog="matsciml completion",
        description="Print the script that lets a shell complete `matsciml`.",
        epilog="For bash: matsciml completion bash > ~/.local/share/bash-completion/completions/matsciml",
    )
    parser.add_argument("shell", choices=SHELLS)
    return parser


def command_parser() -> argparse.ArgumentParser:
    """Make one parser of the whole command line; the commands have stricter ones of their own.

    Of the options of training, those of Lightning's `Trainer` are there; what follows ``--model`` and
    ``--data`` depends on the classes that a config names.
    """
    parser = argparse.ArgumentParser(prog="matsciml")
    parser.add_argument("--version", action="store_true")
    parser.add_argument("--debug", action="store_true")
    commands = parser.add_subparsers()  # shtab leaves out those without a help
    trainer = [f"--trainer.{name}" for name in inspect.signature(Trainer).parameters]
    for name in TRAINING:
        command = commands.add_parser(name, help=name)
        command.add_argument("--config", "-c").complete = {  # type: ignore[attr-defined]
            "bash": "_shtab_compgen_files",
            "zsh": "_files",
        }
        for option in (
            "--ckpt_path",
            "--name",
            "--runs_dir",
            "--print_config",
            "--model",
            "--data",
            *trainer,
        ):
            command.add_argument(option)
    for name, own in (
        ("predict", prediction_parser()),
        ("init", init_parser()),
        ("completion", completion_parser()),
    ):
        commands.add_parser(name, parents=[own], add_help=False, help=name)
    add_data_commands(commands.add_parser("data", help="data"))
    commands.add_parser("check", help="check")
    return parser
