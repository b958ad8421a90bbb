"""`matsciml data import`: create a data set from files with structures."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rich.console import Console

from matsciml.commands.data_options import add_splits, add_writing, progress, ranks, writing

EPILOG = """\
examples:
  matsciml data import frames.xyz my-data
  matsciml data import frames.xyz my-data --targets energy=REF_energy \\
      force=REF_forces stress=virial:-1/volume
  matsciml data import cifs my-data --labels band_gaps.csv
  matsciml data import my-data --train a.xyz --valid b.xyz --test c.xyz
  matsciml data import again --recipe my-data

`matsciml data formats` lists the formats and the recognized names of labels.
"""


class _Parser(argparse.ArgumentParser):
    """Parser that accepts SOURCE and DEST on both sides of the options."""

    _is_inner = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self._is_inner:
            return super().parse_known_args(args, namespace)
        self._is_inner = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._is_inner = False


class _Pairs(argparse.Action):
    """Action that stores ``NAME=VALUE`` arguments as a dict."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option: str | None = None,
    ) -> None:
        pairs = {}
        for text in values:
            name, equals, value = text.partition("=")
            if not (name and equals and value):
                parser.error(f"argument {option}: {text!r} must have the form {self.metavar}")
            pairs[name] = value
        setattr(namespace, self.dest, pairs)


def add_import(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``import`` to the subcommands of ``data``."""
    text = "create a data set from files with structures"
    # The subcommands of argparse have the class of their parent.
    class_before, commands._parser_class = commands._parser_class, _Parser
    try:
        make = commands.add_parser(
            "import",
            help=text,
            description=f"{text[0].upper()}{text[1:]}.",
            epilog=EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            usage="matsciml data import SOURCE DEST [options]\n       "
            "matsciml data import DEST --train FILE --valid FILE [options]\n       "
            "matsciml data import DEST --recipe FILE [options]",
        )
    finally:
        commands._parser_class = class_before
    make.add_argument(
        "paths",
        nargs="+",
        metavar="SOURCE DEST",
        help="file or directory with structures, and directory of the new data set",
    )
    _add_labels(make.add_argument_group("labels"))
    splits = make.add_argument_group("splits")
    add_splits(splits)
    splits.add_argument(
        "--split-by",
        "--group-by",
        metavar="KEY",
        help="structures that stay in the same split: source (file), composition, elements, prototype, block "
        "(consecutive frames), or a key such as extra.config_type; frame splits single frames (default: "
        "frames of a material or trajectory stay together)",
    )
    for name, split in (("train", "training"), ("valid", "validation"), ("test", "test")):
        splits.add_argument(
            f"--{name}", nargs="+", metavar="FILE", help=f"files of the {split} split, instead of SOURCE"
        )
    reading = make.add_argument_group("reading")
    reading.add_argument(
        "--reader", metavar="NAME", help="format, or name of the older toolkit's data set (default: detected)"
    )
    reading.add_argument(
        "--elements", nargs="+", metavar="SYMBOL", help="elements of POSCAR files that do not name them"
    )
    reading.add_argument(
        "--allow-close",
        action="store_true",
        default=None,
        help="accept atoms that are closer than 0.3 angstrom or 0.4 times the sum of covalent radii",
    )
    reading.add_argument(
        "--on-error",
        choices=("stop", "skip"),
        help="stop at the first invalid structure (default), or skip it and list it in DEST/errors.jsonl",
    )
    reading.add_argument(
        "--trust-pickle",
        action="store_true",
        default=None,
        help="load the pickles in the older toolkit's LMDBs, which can run arbitrary code",
    )
    run = make.add_argument_group("the run")
    run.add_argument(
        "--recipe", metavar="FILE", help="YAML file with options, or a data set whose import is repeated"
    )
    add_writing(run)
    run.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="share the work on a Dask cluster, for example tcp://node1:8786",
    )
    run.add_argument("--quiet", action="store_true", help="do not print the account of the import")
    run.add_argument("--json", action="store_true", help="print the account as JSON")
    make.set_defaults(action=run_import)


def _add_labels(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--targets",
        nargs="*",
        metavar="NAME",
        help="targets to import, as NAME or TARGET=LABEL or TARGET=LABEL:FACTOR (default: all recognized "
        "labels; without a name: none)",
    )
    group.add_argument(
        "--units",
        nargs="+",
        action=_Pairs,
        metavar="QUANTITY=UNIT",
        help="units of the files, for example energy=kcal/mol length=bohr (default: eV, angstrom)",
    )
    group.add_argument(
        "--classes", nargs="+", metavar="NAME", help="targets whose integers or words are classes"
    )
    group.add_argument(
        "--labels", metavar="FILE", help="table of labels by file name or id: CSV, TSV, JSON or parquet"
    )
    group.add_argument(
        "--id-column", metavar="NAME", help="column of the table with file names or ids (default: detected)"
    )


_OPTIONS = (
    *("targets", "units", "classes", "labels", "id_column", "splits", "seed", "split_by", "folds", "fold"),
    *("train", "valid", "test", "reader", "elements", "allow_close", "on_error", "trust_pickle"),
    *("recipe", "scheduler"),
)


def run_import(options: argparse.Namespace) -> int:
    """Import files, and print the account."""
    from mml_data.convert import import_source

    source, dest = _paths(options)
    given = {name: getattr(options, name) for name in _OPTIONS if getattr(options, name) is not None}
    name = "the files of the splits" if source is None else source.name
    with ranks() as is_first, progress(f"reading {name}", is_first and not options.quiet) as report:
        manifest = import_source(
            source, dest, about={"command": options.command}, progress=report, **given, **writing(options)
        )
    if is_first:
        account: dict[str, Any] = manifest.source["account"]
        if options.json:
            print(json.dumps(account, indent=1))  # noqa: T201
        elif not options.quiet:
            _show(dest, account)
    return 0


def _paths(options: argparse.Namespace) -> tuple[Path | None, Path]:
    """Return SOURCE, if it is given, and DEST."""
    paths = [Path(path) for path in options.paths]
    instead = [f"--{name}" for name in ("train", "valid", "test", "recipe") if getattr(options, name)]
    if len(paths) == 2:
        return paths[0], paths[1]
    if len(paths) == 1 and instead:
        return None, paths[0]
    raise ValueError(
        f"matsciml data import requires SOURCE and DEST, got {' and '.join(map(str, paths))}; without "
        "SOURCE, give --train, --valid, --test or --recipe"
    )


def _show(dest: Path, account: dict[str, Any]) -> None:
    from mml_data.convert import show_account

    from matsciml.commands.data_views import show_info

    console = Console(highlight=False)
    show_info(dest, console)
    console.print()
    console.print(show_account(account), markup=False, soft_wrap=True)
