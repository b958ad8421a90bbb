"""`matsciml data`: create data sets from files, inspect them, split them, and prepare them for training."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from rich.console import Console

from matsciml.commands.data_check import add_check
from matsciml.commands.data_formats import add_formats
from matsciml.commands.data_import import add_import
from matsciml.commands.data_options import (
    DATASET,
    add_command,
    add_splits,
    add_writing,
    dataset_path,
    progress,
    ranks,
    writing,
)
from matsciml.commands.lmdb import add_lmdb_cli
from matsciml.runs.instances import instantiate
from matsciml.units import SPLITS

if TYPE_CHECKING:
    from mml_data.transforms import Transform


def run_data(arguments: list[str]) -> int:
    """Run `matsciml data ...` and return the exit status.

    Parameters
    ----------
    arguments
        Arguments after ``data`` on the command line.
    """
    parser = data_parser()
    options = parser.parse_args(arguments)
    options.command = shlex.join(["matsciml", "data", *arguments])
    if options.action is None:
        parser.print_help()
        return 0
    return int(options.action(options))


def data_parser() -> argparse.ArgumentParser:
    """Create the parser for the arguments after ``data`` on the command line."""
    parser = argparse.ArgumentParser(
        prog="matsciml data",
        description="Create data sets from files, inspect them, split them, and prepare them for training.",
        epilog="Under mpirun or srun, the ranks share the work of import and precompute.",
    )
    add_data_commands(parser)
    return parser


def add_data_commands(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of ``data`` to a parser."""
    commands = parser.add_subparsers(metavar="COMMAND")
    parser.set_defaults(action=None)
    add_import(commands)
    add_formats(commands)
    for name, action, text in (
        ("info", _info, "show the contents of a data set"),
        ("verify", _verify, "read all samples and compare them with the checksums"),
    ):
        command = add_command(commands, name, text)
        command.add_argument("dataset", metavar="DATASET", help=DATASET)
        command.set_defaults(action=action)
    stats = add_command(commands, "stats", "show the distributions of elements, sizes and targets")
    stats.add_argument("dataset", metavar="DATASET", help=DATASET)
    stats.add_argument(
        "--split", default="all", metavar="NAME", help="show one split only, for example train"
    )
    stats.add_argument(
        "--plot", type=Path, metavar="FILE", help="also plot the distributions to a .png, .svg or .pdf file"
    )
    stats.set_defaults(action=_stats)
    show = add_command(commands, "show", "print one sample")
    show.add_argument("dataset", metavar="DATASET", help=DATASET)
    show.add_argument(
        "index", metavar="INDEX", type=int, nargs="?", default=0, help="index of the sample (default: 0)"
    )
    show.add_argument("--split", metavar="NAME", help="take the index within a split, for example train")
    show.set_defaults(action=_show)
    split = add_command(commands, "split", "draw new splits and store them")
    split.add_argument("dataset", metavar="DATASET", type=Path, help="directory of the data set")
    add_splits(split)
    split.add_argument(
        "--group-by",
        "--split-by",
        metavar="KEY",
        help="keep samples of one group in one split: source (file), composition, elements, prototype, block "
        "(consecutive samples), or a key of the samples such as extra.config_type; frame splits single "
        "samples (default: frames of a material or trajectory stay together)",
    )
    split.set_defaults(action=_split)
    precompute = add_command(commands, "precompute", "apply transforms once and store the results")
    precompute.add_argument("dataset", metavar="DATASET", help=DATASET)
    precompute.add_argument("dest", metavar="DEST", type=Path, help="directory of the new data set")
    precompute.add_argument("--cutoff", type=float, metavar="R", help="find neighbors within R angstrom")
    precompute.add_argument(
        "--adaptive", action="store_true", help="increase the cutoff until every atom has a neighbor"
    )
    precompute.add_argument(
        "--transforms",
        type=Path,
        metavar="FILE",
        help="YAML list of transforms with class_path and init_args",
    )
    add_writing(precompute)
    precompute.set_defaults(action=_precompute)
    add_check(commands, dataset_path, DATASET)
    add_lmdb_cli(commands, dataset_path)


def _info(options: argparse.Namespace) -> int:
    from matsciml.commands.data_views import show_info

    show_info(dataset_path(options.dataset), Console(highlight=False))
    return 0


def _stats(options: argparse.Namespace) -> int:
    from matsciml.commands.data_views import show_statistics

    show_statistics(dataset_path(options.dataset), options.split, Console(highlight=False))
    if options.plot is not None:
        from matsciml.commands.data_plots import plot_statistics

        plot_statistics(dataset_path(options.dataset), options.split, options.plot)
        Console(highlight=False).print(f"\nplot written to {options.plot}")
    return 0


def _show(options: argparse.Namespace) -> int:
    from matsciml.commands.data_views import show_sample

    show_sample(dataset_path(options.dataset), options.index, options.split, Console(highlight=False))
    return 0


def _verify(options: argparse.Namespace) -> int:
    from mml_data.store.stored_dataset import StoredDataset

    dataset = StoredDataset(dataset_path(options.dataset))
    dataset.verify()
    shards = len(dataset.manifest.shards)
    Console(highlight=False).print(
        f"{len(dataset):,} samples in {shards} shard{'s' if shards > 1 else ''} match their checksums"
    )
    return 0


def _split(options: argparse.Namespace) -> int:
    from mml_data import split_dataset

    from matsciml.commands.data_views import show_info

    shares = options.splits and {
        name: share for name, share in zip(SPLITS, options.splits, strict=True) if share
    }
    split_dataset(
        options.dataset,
        shares,
        seed=options.seed or 0,
        group_by=options.group_by,
        folds=options.folds,
        fold=options.fold or 0,
    )
    show_info(options.dataset, Console(highlight=False))
    return 0


def _precompute(options: argparse.Namespace) -> int:
    from mml_data import LMDBDataset

    transforms = _transforms(options)
    with ranks() as is_first, progress("transforming", is_first) as report:
        LMDBDataset(dataset_path(options.dataset)).precompute(
            transforms, options.dest, progress=report, **writing(options)
        )
    if is_first:
        from matsciml.commands.data_views import show_info

        show_info(options.dest, Console(highlight=False))
    return 0


def _transforms(options: argparse.Namespace) -> list[Transform]:
    from mml_graphs import PeriodicPropertiesTransform

    made: list[Transform] = []
    if options.transforms is not None:
        listed = yaml.safe_load(options.transforms.read_text(encoding="utf-8"))
        if not isinstance(listed, list):
            raise ValueError(
                f"{options.transforms} must contain a list of transforms with class_path and init_args, "
                f"got {type(listed).__name__}"
            )
        made += [instantiate(item, str(options.transforms)) for item in listed]
    if options.cutoff is not None:
        made.append(PeriodicPropertiesTransform(options.cutoff, adaptive_cutoff=options.adaptive))
    if not made:
        raise ValueError("precompute has no transforms to apply; pass --cutoff R or --transforms FILE")
    return made
