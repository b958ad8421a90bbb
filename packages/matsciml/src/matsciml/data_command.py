"""`matsciml data`: make data sets from files, and look at them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, TextColumn


def run_data(arguments: list[str]) -> int:
    """Run `matsciml data ...` and return the exit status.

    Parameters
    ----------
    arguments
        What follows ``data`` on the command line.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.action is None:
        parser.print_help()
        return 0
    return int(options.action(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="matsciml data", description="Make data sets from files, and look at them."
    )
    commands = parser.add_subparsers(metavar="COMMAND")
    parser.set_defaults(action=None)
    make = commands.add_parser("import", help="write a data set from a file of structures")
    make.add_argument("source", type=Path, help="a JSON-lines file, one structure a line")
    make.add_argument("dest", type=Path, help="the data set's directory; it must not exist yet")
    make.add_argument(
        "--splits",
        type=float,
        nargs=3,
        default=(0.8, 0.1, 0.1),
        metavar=("TRAIN", "VAL", "TEST"),
        help="shares of the random split (default: 0.8 0.1 0.1)",
    )
    make.add_argument("--seed", type=int, default=0, help="seed of the split (default: 0)")
    make.add_argument("--overwrite", action="store_true", help="replace the data set that is there")
    make.set_defaults(action=_import)
    info = commands.add_parser("info", help="say what is in a data set")
    info.add_argument("dataset", help="a data set's directory, or the name of an embedded one")
    info.set_defaults(action=_info)
    return parser


def _import(options: argparse.Namespace) -> int:
    """Import a file, with a count of the structures that are done."""
    from mml_data.convert import import_source

    console = Console(highlight=False)
    with Progress(
        TextColumn("{task.description}"),
        TextColumn("{task.completed:,} structures"),
        console=console,
        transient=True,
    ) as progress:
        task = progress.add_task(f"reading {options.source.name}", total=None)
        import_source(
            options.source,
            options.dest,
            splits=tuple(options.splits),
            seed=options.seed,
            overwrite=options.overwrite,
            progress=lambda done: progress.update(task, completed=done),
        )
    show(options.dest, console)
    return 0


def _info(options: argparse.Namespace) -> int:
    """Print what is in a data set."""
    from mml_data import devset_path
    from mml_data.devsets import DEVSETS

    embedded = options.dataset in DEVSETS and not Path(options.dataset).exists()
    show(devset_path(options.dataset) if embedded else Path(options.dataset), Console(highlight=False))
    return 0


def show(path: Path, console: Console) -> None:
    """Print a data set's contents.

    Parameters
    ----------
    path
        Its directory.
    console
        Where to.
    """
    from mml_data import MatSciMLDataModule

    module = MatSciMLDataModule(train_path=str(path))
    module.setup("fit")
    about: dict[str, Any] = module.describe()
    for key, value in about.items():
        console.print(f"{key}: {value}", markup=False)
