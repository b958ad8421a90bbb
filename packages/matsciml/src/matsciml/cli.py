"""The command `matsciml`: dispatch, and one clear sentence for every error."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Sequence

HELP = """\
usage: matsciml COMMAND [options]

Train graph neural networks on crystals and molecules.

commands:
  fit        train a model; without options: energies and forces on the embedded
             data set, ending in runs/fit/report.html
  validate   evaluate a checkpoint on the validation split
  test       evaluate a checkpoint on the test split and write its report
  predict    write a checkpoint's predictions as JSON lines
  data       make data sets from files, and look at them

options:
  -h, --help     this text; `matsciml COMMAND --help` for a command's own
  --version      the version
  --debug        show the traceback of an error

examples:
  matsciml fit
  matsciml fit --config my.yaml --trainer.max_epochs 100
  matsciml fit --ckpt_path last              continue the newest run
  matsciml test --ckpt_path best
  matsciml fit --print_config > my.yaml
  matsciml data import structures.jsonl my-data
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Parameters
    ----------
    arguments
        What follows the program's name; taken from `sys.argv` when left out.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    arguments = [a for a in arguments if a != "--debug"]
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
    if command == "data":
        from matsciml.data_command import run_data

        return run_data(rest)
    if command in ("fit", "validate", "test", "predict"):
        from matsciml.training import run_training

        return run_training(command, rest, debug)
    known = "fit, validate, test, predict, data"
    print(f"matsciml: error: there is no command {command!r}; there are {known}", file=sys.stderr)  # noqa: T201
    return 2


def sentence(error: BaseException) -> str:
    """Return an error as one line; unexpected kinds are named, and how to see more is said.

    Parameters
    ----------
    error
        Any exception.
    """
    text = error.args[0] if isinstance(error, KeyError) and error.args else str(error)
    text = re.sub(r"\s+", " ", str(text)).strip()
    usual = (ValueError, TypeError, OSError, ImportError, LookupError)
    if not text or not (isinstance(error, usual) or _is_ours(error)):
        text = f"{type(error).__name__}: {text} (--debug shows where)"
    return text


def _is_ours(error: BaseException) -> bool:
    """Say whether an error is meant for the user: raised by us, or Lightning's word for a mistake."""
    if type(error).__name__ == "MisconfigurationException":
        return True
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    module = trace.tb_frame.f_globals.get("__name__", "") if trace is not None else ""
    return module.startswith(("mml_", "matsciml."))
