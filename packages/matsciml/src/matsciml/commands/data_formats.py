"""`matsciml data formats`: list the formats that can be imported, and the recognized names of labels."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from mml_data.importers.formats import Format
    from mml_data.importers.label_names import LabelName


def add_formats(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand ``formats``.

    Parameters
    ----------
    commands
        Subcommands of ``data``.
    """
    text = "list the formats that can be imported, and the recognized names of labels"
    command = commands.add_parser(
        "formats",
        help=text,
        description=f"{text[0].upper()}{text[1:]}. Compressed files (.gz, .bz2, .xz, .zst) and archives "
        "(.tar, .tar.gz, .zip) of these files can be imported, too.",
    )
    command.add_argument(
        "--labels", action="store_true", help="list the names under which labels are recognized"
    )
    command.set_defaults(action=_formats)


def _formats(options: argparse.Namespace) -> int:
    console = Console(highlight=False)
    if options.labels:
        from mml_data.importers.label_names import AMBIGUOUS, RECOGNIZED

        show_labels(RECOGNIZED, AMBIGUOUS, console)
    else:
        from mml_data.importers.registry import known_formats

        show_formats(known_formats(), console)
    return 0


def show_formats(formats: Sequence[Format], console: Console) -> None:
    """Print the table of formats.

    Parameters
    ----------
    formats
        Formats, in the order of the table.
    console
        Console to print to.
    """
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("format", min_width=24, max_width=24, overflow="fold")
    table.add_column("files, and labels with their units", overflow="fold")
    for each in formats:
        name = Text(each.name, style="bold").append("\n").append(_requirement(each.requires))
        table.add_row(name, Text.assemble(each.files, "\n", (each.labels, "dim")))
    console.print(table)
    console.print(
        Text(
            "Files may be compressed (.gz, .bz2, .xz, .zst) or in archives (.tar, .tar.gz, .zip). "
            "The names of labels: matsciml data formats --labels"
        )
    )


def show_labels(labels: Sequence[LabelName], ambiguous: Mapping[str, str], console: Console) -> None:
    """Print the names under which labels are recognized.

    Parameters
    ----------
    labels
        Recognized names, in order of preference.
    ambiguous
        Names that look like labels but are not recognized, and the reasons.
    console
        Console to print to.
    """
    from mml_data.importers.label_names import PREFIXES, SUFFIXES

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("becomes", style="bold", no_wrap=True)
    table.add_column("stored as", no_wrap=True)
    table.add_column("names in the file", min_width=25, overflow="fold")
    table.add_column("notes", overflow="fold")
    for each in labels:
        note = f"{each.note}; as --targets {each.becomes}=NAME{each.factor}" if each.factor else each.note
        table.add_row(each.becomes, each.place, "\n".join(each.names), note)
    console.print(table)
    console.print(
        Text(
            "A target is predicted, a key is part of the structure, and extra is kept without a role. "
            "Upper and lower case are the same. Names of targets are also recognized with the prefixes "
            f"{', '.join(PREFIXES)} and the suffixes {', '.join(SUFFIXES)}, for example REF_energy.\n"
        )
    )
    console.print(Text("Not recognized, so map them with --targets:", style="bold"))
    for name, reason in ambiguous.items():
        console.print(Text(f"  {name}: {reason}"))


def _requirement(extra: str | None) -> Text:
    from matsciml.commands.check import part_of

    if extra is None:
        return Text()
    missing = part_of("mml-data", extra).missing
    state = ("not installed", "red") if missing else ("installed", "green")
    return Text.assemble((f"mml-data[{extra}]\n", "dim not bold"), state)
