"""`matsciml data`: create data sets from files, inspect them, split them, and prepare them for training."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import yaml
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from matsciml.commands.lmdb import add_lmdb_cli
from matsciml.runs.instances import instantiate
from matsciml.units import SPLITS

if TYPE_CHECKING:
    from mml_data.transforms import Transform

DATASET = "directory of a data set, or name of an embedded one"


class _Writing(TypedDict):
    """Options of the commands that write a data set."""

    jobs: int
    resume: bool
    overwrite: bool
    compression: str | None


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
    _add_import(commands)
    for name, action, text in (
        ("info", _info, "show the contents of a data set"),
        ("verify", _verify, "read all samples and compare them with the checksums"),
    ):
        command = _command(commands, name, text)
        command.add_argument("dataset", metavar="DATASET", help=DATASET)
        command.set_defaults(action=action)
    stats = _command(commands, "stats", "show the distributions of elements, sizes and targets")
    stats.add_argument("dataset", metavar="DATASET", help=DATASET)
    stats.add_argument(
        "--split", default="all", metavar="NAME", help="show one split only, for example train"
    )
    stats.add_argument(
        "--plot", type=Path, metavar="FILE", help="also plot the distributions to a .png, .svg or .pdf file"
    )
    stats.set_defaults(action=_stats)
    show = _command(commands, "show", "print one sample")
    show.add_argument("dataset", metavar="DATASET", help=DATASET)
    show.add_argument(
        "index", metavar="INDEX", type=int, nargs="?", default=0, help="index of the sample (default: 0)"
    )
    show.add_argument("--split", metavar="NAME", help="take the index within a split, for example train")
    show.set_defaults(action=_show)
    split = _command(commands, "split", "draw new random splits and store them")
    split.add_argument("dataset", metavar="DATASET", type=Path, help="directory of the data set")
    _add_splits(split)
    split.add_argument(
        "--group-by",
        metavar="KEY",
        help="keep samples of one group in one split: composition, elements, prototype, or a key of the "
        "samples, for example extra.source",
    )
    split.set_defaults(action=_split)
    precompute = _command(commands, "precompute", "apply transforms once and store the results")
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
    _add_writing(precompute)
    precompute.set_defaults(action=_precompute)
    add_lmdb_cli(commands, _path)


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str
) -> argparse.ArgumentParser:
    """Add a subcommand, whose help begins with the text as a sentence."""
    return commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")


def _add_import(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    make = _command(commands, "import", "create a data set from files with structures")
    make.add_argument(
        "source",
        metavar="SOURCE",
        type=Path,
        help="JSON lines, extended XYZ, CIF, POSCAR, pymatgen's JSON, ASE's files and databases, "
        "the older toolkit's LMDBs, or a directory of such files",
    )
    make.add_argument("dest", metavar="DEST", type=Path, help="directory of the new data set")
    _add_splits(make)
    make.add_argument(
        "--targets",
        nargs="+",
        metavar="NAME",
        help="targets to import (default: those of the first structure)",
    )
    make.add_argument(
        "--on-error",
        choices=("stop", "skip"),
        default="stop",
        help="stop at the first invalid structure (default), or skip it and list it in DEST/errors.jsonl",
    )
    make.add_argument("--reader", metavar="NAME", help="name of the older toolkit's data set in these LMDBs")
    make.add_argument(
        "--trust-pickle",
        action="store_true",
        help="load the pickles in these LMDBs, which can run arbitrary code",
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
        help="fractions of the splits (default: 0.8 0.1 0.1)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the split (default: 0)")


def _add_writing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="number of processes (default: 1)")
    parser.add_argument("--resume", action="store_true", help="continue an interrupted run of this command")
    parser.add_argument("--overwrite", action="store_true", help="replace the data set if it exists")
    parser.add_argument("--compression", choices=("zstd",), help="compress the samples")


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
        from matsciml.commands.data_views import show_info

        console = Console(highlight=False)
        show_info(options.dest, console)
        if skipped := manifest.source.get("skipped"):
            count = f"{skipped:,} structures were" if skipped > 1 else "1 structure was"
            console.print(f"\n{count} skipped; see {options.dest / 'errors.jsonl'}")
    return 0


def _info(options: argparse.Namespace) -> int:
    from matsciml.commands.data_views import show_info

    show_info(_path(options.dataset), Console(highlight=False))
    return 0


def _stats(options: argparse.Namespace) -> int:
    from matsciml.commands.data_views import show_statistics

    show_statistics(_path(options.dataset), options.split, Console(highlight=False))
    if options.plot is not None:
        from matsciml.commands.data_plots import plot_statistics

        plot_statistics(_path(options.dataset), options.split, options.plot)
        Console(highlight=False).print(f"\nplot written to {options.plot}")
    return 0


def _show(options: argparse.Namespace) -> int:
    from matsciml.commands.data_views import show_sample

    show_sample(_path(options.dataset), options.index, options.split, Console(highlight=False))
    return 0


def _verify(options: argparse.Namespace) -> int:
    from mml_data.store.stored_dataset import StoredDataset

    dataset = StoredDataset(_path(options.dataset))
    dataset.verify()
    shards = len(dataset.manifest.shards)
    Console(highlight=False).print(
        f"{len(dataset):,} samples in {shards} shard{'s' if shards > 1 else ''} match their checksums"
    )
    return 0


def _split(options: argparse.Namespace) -> int:
    from mml_data import split_dataset

    from matsciml.commands.data_views import show_info

    shares = {name: share for name, share in zip(SPLITS, options.splits, strict=True) if share}
    split_dataset(options.dataset, shares, seed=options.seed, group_by=options.group_by)
    show_info(options.dataset, Console(highlight=False))
    return 0


def _precompute(options: argparse.Namespace) -> int:
    from mml_data import LMDBDataset

    transforms = _transforms(options)
    with _ranks() as is_first, _progress("transforming", is_first) as progress:
        LMDBDataset(_path(options.dataset)).precompute(
            transforms, options.dest, progress=progress, **_writing(options)
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


def _writing(options: argparse.Namespace) -> _Writing:
    return {
        "jobs": options.jobs,
        "resume": options.resume,
        "overwrite": options.overwrite,
        "compression": options.compression,
    }


def _path(dataset: str) -> Path:
    """Return the directory of a data set, given its path or the name of an embedded one."""
    from mml_data import devset_path
    from mml_data.devsets import DEVSETS

    return devset_path(dataset) if dataset in DEVSETS and not Path(dataset).exists() else Path(dataset)


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
    from mml_distributed import read_launch

    try:
        alone = read_launch().size == 1
    except RuntimeError:  # no launcher started this process
        alone = True
    if alone:
        yield True
        return
    import torch.distributed as dist
    from mml_distributed import MPIEnvironment

    environment = MPIEnvironment()
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
