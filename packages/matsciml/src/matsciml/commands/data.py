"""`matsciml data`: create data sets from files, inspect them, split them, and prepare them for training."""

from __future__ import annotations

import argparse
import importlib
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from matsciml.commands.lmdb import add_lmdb_cli
from matsciml.runs.instances import instantiate

DATASET = "a data set's directory, or the name of an embedded one"
SPLITS = ("train", "val", "test")


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
        description="Make data sets from files, look at them, divide them, and prepare them for training.",
        epilog="Under mpirun or srun, import and precompute share the work among the ranks.",
    )
    add_data_commands(parser)
    return parser


def add_data_commands(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of ``data`` to a parser."""
    commands = parser.add_subparsers(metavar="COMMAND")
    parser.set_defaults(action=None)
    _add_import(commands)
    for name, action, text in (
        ("info", _info, "say what is in a data set"),
        ("verify", _verify, "read everything and compare it with the checksums"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("dataset", help=DATASET)
        command.set_defaults(action=action)
    stats = commands.add_parser("stats", help="show how elements, sizes and targets are distributed")
    stats.add_argument("dataset", help=DATASET)
    stats.add_argument("--split", default="all", help="of one split only, such as train")
    stats.add_argument("--plot", type=Path, metavar="FILE", help="draw it, as .png, .svg or .pdf")
    stats.set_defaults(action=_stats)
    show = commands.add_parser("show", help="print one sample")
    show.add_argument("dataset", help=DATASET)
    show.add_argument("index", type=int, nargs="?", default=0, help="which one (default: 0)")
    show.add_argument("--split", help="of a split, such as train")
    show.set_defaults(action=_show)
    split = commands.add_parser("split", help="draw other splits and record them")
    split.add_argument("dataset", type=Path, help="the data set's directory")
    _add_splits(split)
    split.add_argument(
        "--group-by",
        metavar="WHAT",
        help="keep together what is of one composition, elements, prototype, or has the same value of a key, "
        "such as extra.source",
    )
    split.set_defaults(action=_split)
    precompute = commands.add_parser("precompute", help="apply transforms once and store what they give")
    precompute.add_argument("dataset", help=DATASET)
    precompute.add_argument("dest", type=Path, help="directory of the new data set")
    precompute.add_argument("--cutoff", type=float, metavar="R", help="find neighbours up to R angstrom")
    precompute.add_argument("--adaptive", action="store_true", help="grow the cutoff until no atom is alone")
    precompute.add_argument(
        "--transforms", type=Path, metavar="FILE", help="a YAML list of class_path and init_args"
    )
    _add_writing(precompute)
    precompute.set_defaults(action=_precompute)
    add_lmdb_cli(commands, _path)


def _add_import(commands: Any) -> None:
    make = commands.add_parser("import", help="write a data set from files of structures")
    make.add_argument(
        "source",
        type=Path,
        help="JSON lines, extended XYZ, CIF, POSCAR, pymatgen's JSON, ASE's files and databases, "
        "the older toolkit's LMDBs, or a directory of such files",
    )
    make.add_argument("dest", type=Path, help="the data set's directory; it must not exist yet")
    _add_splits(make)
    make.add_argument(
        "--targets", nargs="+", metavar="NAME", help="the targets (default: the first structure's)"
    )
    make.add_argument(
        "--on-error",
        choices=("stop", "skip"),
        default="stop",
        help="stop at what cannot be imported (default), or list it in DEST/errors.jsonl",
    )
    make.add_argument("--reader", metavar="NAME", help="which data set the older toolkit's LMDBs hold")
    make.add_argument(
        "--trust-pickle", action="store_true", help="run the pickles in these LMDBs, whatever they do"
    )
    _add_writing(make)
    make.set_defaults(action=_import)


def _add_splits(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--splits",
        type=float,
        nargs=3,
        default=(0.8, 0.1, 0.1),
        metavar=("TRAIN", "VAL", "TEST"),
        help="shares of the splits (default: 0.8 0.1 0.1)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the split (default: 0)")


def _add_writing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes (default: 1)")
    parser.add_argument("--resume", action="store_true", help="go on where it was interrupted")
    parser.add_argument("--overwrite", action="store_true", help="replace the data set that is there")
    parser.add_argument("--compression", choices=("zstd",), help="make the data set smaller")


def _import(options: argparse.Namespace) -> int:
    """Import files and display the number of structures imported so far."""
    from mml_data.convert import import_source

    with _ranks() as is_first, _progress(f"reading {options.source.name}", is_first) as progress:
        manifest = import_source(
            options.source,
            options.dest,
            splits=tuple(options.splits),
            seed=options.seed,
            targets=options.targets,
            on_error=options.on_error,
            reader=options.reader,
            trust_pickle=options.trust_pickle,
            about={"command": options.command},
            progress=progress,
            **_writing(options),
        )
    if is_first:
        console = Console(highlight=False)
        _views().show_info(options.dest, console)
        if skipped := manifest.source.get("skipped"):
            console.print(f"\n{skipped:,} structures were skipped: see {options.dest / 'errors.jsonl'}")
    return 0


def _info(options: argparse.Namespace) -> int:
    _views().show_info(_path(options.dataset), Console(highlight=False))
    return 0


def _stats(options: argparse.Namespace) -> int:
    _views().show_statistics(_path(options.dataset), options.split, Console(highlight=False))
    if options.plot is not None:
        from matsciml.commands.data_plots import plot_statistics

        plot_statistics(_path(options.dataset), options.split, options.plot)
        Console(highlight=False).print(f"\ndrawn in {options.plot}")
    return 0


def _show(options: argparse.Namespace) -> int:
    _views().show_sample(_path(options.dataset), options.index, options.split, Console(highlight=False))
    return 0


def _verify(options: argparse.Namespace) -> int:
    from mml_data import LMDBDataset

    dataset = LMDBDataset(_path(options.dataset))
    dataset.verify()
    shards = len(dataset.manifest.shards)
    Console(highlight=False).print(f"{len(dataset):,} samples in {shards} shard(s): all as they were written")
    return 0


def _split(options: argparse.Namespace) -> int:
    from mml_data import split_dataset

    shares = {name: share for name, share in zip(SPLITS, options.splits, strict=True) if share}
    split_dataset(options.dataset, shares, seed=options.seed, group_by=options.group_by)
    _views().show_info(options.dataset, Console(highlight=False))
    return 0


def _precompute(options: argparse.Namespace) -> int:
    from mml_data import LMDBDataset

    transforms = _transforms(options)
    with _ranks() as is_first, _progress("transforming", is_first) as progress:
        LMDBDataset(_path(options.dataset)).precompute(
            transforms, options.dest, progress=progress, **_writing(options)
        )
    if is_first:
        _views().show_info(options.dest, Console(highlight=False))
    return 0


def _transforms(options: argparse.Namespace) -> list[Any]:
    from mml_graphs import PeriodicPropertiesTransform

    made: list[Any] = []
    if options.transforms is not None:
        listed = yaml.safe_load(options.transforms.read_text(encoding="utf-8"))
        if not isinstance(listed, list):
            raise ValueError(f"{options.transforms} must hold a list of class_path and init_args")
        made += [instantiate(item, str(options.transforms)) for item in listed]
    if options.cutoff is not None:
        made.append(PeriodicPropertiesTransform(options.cutoff, adaptive_cutoff=options.adaptive))
    if not made:
        raise ValueError("say what to apply: --cutoff R, or --transforms FILE")
    return made


def _writing(options: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(options, name) for name in ("jobs", "resume", "overwrite", "compression")}


def _path(dataset: str) -> Path:
    """Return the directory of a data set, given its path or the name of an embedded one."""
    from mml_data import devset_path
    from mml_data.devsets import DEVSETS

    return devset_path(dataset) if dataset in DEVSETS and not Path(dataset).exists() else Path(dataset)


def _views() -> Any:
    return importlib.import_module("matsciml.commands.data_views")


@contextmanager
def _progress(task: str, is_first: bool) -> Iterator[Callable[[int], object] | bool]:
    if not is_first:
        yield False
        return
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TextColumn("{task.completed:,} structures"),
        TimeElapsedColumn(),
        console=Console(highlight=False),
        transient=True,
    ) as progress:
        number = progress.add_task(task, total=None)
        yield lambda done: progress.update(number, completed=done)


@contextmanager
def _ranks() -> Iterator[bool]:
    """Connect the ranks of a launch, if there are several, and yield whether this is rank 0."""
    import torch.distributed as dist
    from mml_distributed import MPIEnvironment

    if not MPIEnvironment.detect():
        yield True
        return
    environment = MPIEnvironment()
    if environment.world_size() == 1:
        yield True
        return
    dist.init_process_group(
        "gloo",
        init_method=f"tcp://{environment.main_address}:{environment.main_port}",
        rank=environment.global_rank(),
        world_size=environment.world_size(),
    )
    try:
        yield environment.global_rank() == 0
    finally:
        dist.destroy_process_group()
