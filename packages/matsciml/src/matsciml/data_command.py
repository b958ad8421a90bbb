"""`matsciml data`: make data sets from files, and look at them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, TextColumn
from rich.table import Table
from rich.text import Text


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
    """Print what a data set's manifest says of it.

    Parameters
    ----------
    path
        Its directory.
    console
        Where to.
    """
    from mml_data import Manifest

    manifest = Manifest.read(path)
    about = manifest.statistics["all"]
    natoms = about["natoms"]
    splits = (
        ", ".join(f"{entry.count:,} {name}" for name, entry in manifest.splits.items()) or "none recorded"
    )
    elements = " ".join(sorted(about["elements"]))
    facts = {
        "data set": f"{manifest.name} ({path})",
        "structures": f"{manifest.num_samples:,}",
        "splits": splits,
        "atoms": f"{natoms['min']:.0f} to {natoms['max']:.0f} a structure, {natoms['mean']:.1f} on average",
        "elements": elements,
        **{key: str(value) for key, value in manifest.source.items() if not isinstance(value, dict | list)},
    }
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in facts.items():
        table.add_row(Text(key), Text(value))
    console.print(table)
    console.print()
    table = Table(box=None, pad_edge=False)
    for column in ("target", "unit", "mean", "std", "min", "max", "values"):
        table.add_column(column, justify="left" if column in ("target", "unit") else "right")
    for name, numbers in about["targets"].items():
        if "classes" in numbers:
            table.add_row(
                Text(name), Text(f"{len(numbers['classes'])} classes"), *[""] * 4, f"{numbers['count']:,}"
            )
            continue
        unit = manifest.schema.get(f"targets.{name}", {}).get("units") or ""
        values = [_short(numbers[key]) for key in ("mean", "std", "min", "max")]
        table.add_row(Text(name), Text(unit), *values, f"{numbers['count']:,}")
    console.print(table)


def _short(value: Any) -> str:
    """Format one statistic; those by component are not shown here."""
    return f"{value:.4g}" if isinstance(value, int | float) else "..."
