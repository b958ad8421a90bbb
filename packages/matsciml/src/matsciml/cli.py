"""The `matsciml` command: dispatch to the subcommands, and one-line error messages."""

from __future__ import annotations

import difflib
import re
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

HELP = """\
usage: matsciml COMMAND [options]

Train graph neural networks on crystals and molecules.

commands:
  fit         train a model; without options, train energies and forces of the
              embedded data set and write runs/fit/report.html
  validate    evaluate the best checkpoint of a run on the validation split
  test        evaluate the best checkpoint of a run on the test split and write
              its report
  predict     predict structures in files, or a split, with the best checkpoint
  data        create data sets from files, and inspect them
  init        write a commented config for a data set, an encoder and a task
  diagnose    check the data and the model of a config within seconds
  check       show the installed versions, the devices and the optional parts
  completion  print the completion script of a shell

options:
  -h, --help  show this text; `matsciml COMMAND --help` shows that of a command
  --version   show the version
  --debug     show the traceback of an error

examples:
  matsciml fit
  matsciml fit --config my.yaml --trainer.max_epochs 100
  matsciml fit --ckpt_path last              continue the newest run
  matsciml test
  matsciml predict structures.cif
  matsciml data import structures.jsonl my-data
  matsciml init mine --data my-data --encoder PaiNN
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Parameters
    ----------
    arguments
        Arguments after the program's name. Default: those of `sys.argv`.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    arguments = [a for a in arguments if a != "--debug"]
    # A config may refer to classes that the user wrote in the current folder. Installed modules take
    # precedence over them.
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    try:
        return _dispatch(arguments, debug)
    except KeyboardInterrupt:
        print("\nmatsciml: interrupted", file=sys.stderr)  # noqa: T201
        return 128 + signal.SIGINT
    except Exception as error:
        if debug:
            raise
        print(f"matsciml: error: {sentence(error)}", file=sys.stderr)  # noqa: T201
        if launched := sys.modules.get("mml_distributed"):
            launched.abort_job()
        return 1


def _dispatch(arguments: list[str], debug: bool) -> int:
    command, rest = (arguments[0], arguments[1:]) if arguments else ("--help", [])
    if command in ("-h", "--help"):
        print(HELP, end="")  # noqa: T201
        return 0
    if command == "--version":
        from matsciml import __version__

        print(f"matsciml {__version__}")  # noqa: T201
        return 0
    if command not in COMMANDS:
        known = ", ".join(COMMANDS)
        meant = difflib.get_close_matches(command, COMMANDS, n=1)
        hint = f"did you mean {meant[0]!r}?" if meant else f"the commands are {known}"
        print(f"matsciml: error: unknown command {command!r}; {hint}", file=sys.stderr)  # noqa: T201
        return 2
    return COMMANDS[command](command, rest, debug)


def _train(command: str, rest: list[str], debug: bool) -> int:
    if {"-h", "--help"} & set(rest):
        from matsciml.commands.training_help import training_help

        print(training_help(command), end="")  # noqa: T201
        return 0
    from matsciml.commands.fit import run_training

    rest = ["--help" if argument == "--help-all" else argument for argument in rest]
    return run_training(command, rest, debug)


def _predict(command: str, rest: list[str], debug: bool) -> int:
    """Predict the structures in files if the arguments name files, and those of the data module otherwise."""
    if not {"-h", "--help"} & set(rest):
        from matsciml.commands.predict import predict_files, prediction_parser

        options, unknown = prediction_parser().parse_known_intermixed_args(rest)
        if options.files and not unknown:
            return predict_files(options)
        if any(file.is_file() for file in options.files):
            raise ValueError(
                f"unknown option {unknown[0]} of predict FILE; `matsciml predict --help` lists its options"
            )
    return _train(command, rest, debug)


def _data(command: str, rest: list[str], debug: bool) -> int:
    from matsciml.commands.data import run_data

    return run_data(rest)


def _init(command: str, rest: list[str], debug: bool) -> int:
    from matsciml.commands.init import run_init

    return run_init(rest)


def _diagnose(command: str, rest: list[str], debug: bool) -> int:
    if {"-h", "--help"} & set(rest):
        from matsciml.commands.training_help import DIAGNOSE

        print(DIAGNOSE, end="")  # noqa: T201
        return 0
    from matsciml.commands.diagnose import run_diagnose

    return run_diagnose(rest, debug)


def _check(command: str, rest: list[str], debug: bool) -> int:
    from matsciml.commands.check import run_check

    return run_check(rest)


def _completion(command: str, rest: list[str], debug: bool) -> int:
    from matsciml.commands.completion import run_completion

    return run_completion(rest)


COMMANDS: dict[str, Callable[[str, list[str], bool], int]] = {
    "fit": _train,
    "validate": _train,
    "test": _train,
    "predict": _predict,
    "data": _data,
    "init": _init,
    "diagnose": _diagnose,
    "check": _check,
    "completion": _completion,
}
"""Mapping from each command to the function that runs it. The function imports the modules of its command."""


def sentence(error: BaseException) -> str:
    """Return an error as one line. Unexpected errors include their type and a hint at ``--debug``.

    Parameters
    ----------
    error
        Any exception.
    """
    text = error.args[0] if isinstance(error, KeyError) and error.args else str(error)
    text = re.sub(r"\s+", " ", str(text)).strip()
    usual = (ValueError, TypeError, OSError, ImportError, LookupError)
    if not text or not (isinstance(error, usual) or _is_ours(error)):
        text = f"{type(error).__name__}: {text} (run with --debug to see the traceback)"
    return text


def _is_ours(error: BaseException) -> bool:
    """Return whether this toolkit raised an error, or Lightning reported a misconfiguration."""
    if type(error).__name__ == "MisconfigurationException":
        return True
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    module = trace.tb_frame.f_globals.get("__name__", "") if trace is not None else ""
    return module.startswith(("mml_", "matsciml."))
