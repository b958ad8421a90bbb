"""Options and helpers that several subcommands of `matsciml data` share."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypedDict

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

DATASET = "directory of a data set, or name of an embedded one"

Arguments = argparse.ArgumentParser | argparse._ArgumentGroup


class Writing(TypedDict):
    """Options of the commands that write a data set."""

    jobs: int
    resume: bool
    overwrite: bool
    compression: str | None


def add_command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str
) -> argparse.ArgumentParser:
    """Add a subcommand, whose help begins with the text as a sentence."""
    return commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")


def add_splits(parser: Arguments) -> None:
    """Add the options from which splits are drawn."""
    parser.add_argument(
        "--splits",
        type=float,
        nargs=3,
        metavar=("TRAIN", "VAL", "TEST"),
        help="fractions of the splits (default: 0.8 0.1 0.1)",
    )
    parser.add_argument("--seed", type=int, metavar="N", help="seed of the splits (default: 0)")
    parser.add_argument(
        "--folds", type=int, metavar="N", help="number of folds of a cross-validation, instead of --splits"
    )
    parser.add_argument(
        "--fold",
        type=int,
        metavar="K",
        help="fold that becomes the test split, from 0 (default: 0); the next one is for validation",
    )


def add_writing(parser: Arguments) -> None:
    """Add the options of the commands that write a data set."""
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="number of processes (default: 1)")
    parser.add_argument("--resume", action="store_true", help="continue an interrupted run of this command")
    parser.add_argument("--overwrite", action="store_true", help="replace the data set if it exists")
    parser.add_argument("--compression", choices=("zstd",), help="compress the samples")


def writing(options: argparse.Namespace) -> Writing:
    """Return the options of `add_writing`."""
    return {
        "jobs": options.jobs,
        "resume": options.resume,
        "overwrite": options.overwrite,
        "compression": options.compression,
    }


def dataset_path(dataset: str) -> Path:
    """Return the directory of a data set, given its path or the name of an embedded one."""
    from mml_data import devset_path
    from mml_data.devsets import DEVSETS

    return devset_path(dataset) if dataset in DEVSETS and not Path(dataset).exists() else Path(dataset)


@contextmanager
def progress(task: str, is_shown: bool) -> Iterator[Callable[[int], object] | bool]:
    """Display the number of finished structures, and yield the function that is called with it."""
    if not is_shown:
        yield False
        return
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TextColumn("{task.completed:,} structures"),
        TimeElapsedColumn(),
        console=Console(highlight=False, stderr=True),
        transient=True,
    ) as bar:
        number = bar.add_task(task, total=None)
        yield lambda done: bar.update(number, completed=done)


@contextmanager
def ranks() -> Iterator[bool]:
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
