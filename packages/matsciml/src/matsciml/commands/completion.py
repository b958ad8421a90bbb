"""`matsciml completion SHELL`: print the script that completes the command line in a shell."""

from __future__ import annotations

import argparse
import inspect
from importlib.util import find_spec

SHELLS = ("bash", "zsh")
TRAINING = ("fit", "validate", "test", "diagnose")


def run_completion(arguments: list[str]) -> int:
    """Print the completion script and return the exit status.

    Parameters
    ----------
    arguments
        Arguments after ``completion`` on the command line.

    Raises
    ------
    ImportError
        If shtab, which generates the script, is not installed. The message contains the install command.
    """
    options = completion_parser().parse_args(arguments)
    if find_spec("shtab") is None:
        raise ImportError(
            "completion scripts require shtab, which is not installed: pip install 'matsciml[completion]'"
        )
    import shtab

    print(shtab.complete(command_parser(), options.shell))  # noqa: T201
    return 0


def completion_parser() -> argparse.ArgumentParser:
    """Create the parser for the arguments after ``completion`` on the command line."""
    parser = argparse.ArgumentParser(
        prog="matsciml completion",
        description="Print the completion script of a shell for `matsciml`.",
        epilog="for bash:\n  matsciml completion bash > ~/.local/share/bash-completion/completions/matsciml",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=SHELLS, help="shell that runs the script")
    return parser


def command_parser() -> argparse.ArgumentParser:
    """Create one parser for the whole command line. The commands themselves use stricter parsers.

    The options of training include those of Lightning's `Trainer`, but not those under ``--model`` and
    ``--data``, which depend on the classes in a config.
    """
    from pytorch_lightning import Trainer

    from matsciml.commands.data import add_data_commands
    from matsciml.commands.init import init_parser
    from matsciml.commands.predict import prediction_parser

    parser = argparse.ArgumentParser(prog="matsciml")
    parser.add_argument("--version", action="store_true")
    parser.add_argument("--debug", action="store_true")
    commands = parser.add_subparsers()  # shtab omits commands without help
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
