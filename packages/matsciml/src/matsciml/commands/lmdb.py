"""The commands of the older toolkit's ``lmdb_cli``, as `matsciml data print-structure` and others."""

from __future__ import annotations

import argparse
import code
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from mml_data import LMDBDataset
    from mml_data.transforms import Transform
    from mml_samples import Sample

PERIODIC_RADIUS = 6.0


def add_lmdb_cli(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], path: Callable[[str], Path]
) -> None:
    """Add the commands to the subcommands of ``data``.

    Parameters
    ----------
    commands
        Return value of `argparse`'s ``add_subparsers``.
    path
        Function that returns the directory of a data set named on the command line.
    """
    for name, action, text in (
        ("print-structure", _print_structure, "print a data set and its first sample"),
        ("check-sample", _check_sample, "print a sample, optionally with its neighbors"),
        ("interactive", _interactive, "start a Python session with a data set"),
        ("dump-statistics", _dump_statistics, "print statistics of random samples"),
    ):
        command = commands.add_parser(
            name,
            help=f"{text} (lmdb_cli)",
            description=f"{text[0].upper()}{text[1:]}, as the older toolkit's lmdb_cli does.",
        )
        command.add_argument("dataset", metavar="LMDB_DIR", type=path, help="directory of a data set")
        if name == "check-sample":
            command.add_argument("index", metavar="INDEX", type=int, help="index of the sample")
        command.add_argument("-d", "--dataset_type", help="ignored; the data set records its type")
        command.add_argument("-p", "--periodic", action="store_true", help="find periodic neighbors")
        command.add_argument(
            "-r",
            "--radius",
            type=float,
            default=PERIODIC_RADIUS,
            help=f"cutoff in angstrom (default: {PERIODIC_RADIUS:g})",
        )
        command.add_argument(
            "-a",
            "--adaptive_cutoff",
            action="store_true",
            help="increase the cutoff until every atom has a neighbor",
        )
        command.add_argument(
            "-g", "--graph_backend", choices=("pyg", "dgl"), help="convert the sample to a graph"
        )
        if name == "dump-statistics":
            command.add_argument("-n", "--num_samples", type=int, help="number of samples (default: all)")
            command.add_argument(
                "-w",
                "--window_size",
                type=int,
                default=10,
                help="number of samples in a moving mean (default: 10)",
            )
        command.set_defaults(action=action)


def _dataset(options: argparse.Namespace) -> LMDBDataset:
    from mml_data import LMDBDataset
    from mml_graphs import PeriodicPropertiesTransform, PointCloudToGraphTransform

    transforms: list[Transform] = []
    if options.periodic:
        transforms.append(
            PeriodicPropertiesTransform(options.radius, adaptive_cutoff=options.adaptive_cutoff)
        )
    if options.graph_backend:
        transforms.append(PointCloudToGraphTransform(options.graph_backend, cutoff_dist=options.radius))
    return LMDBDataset(options.dataset, transforms=transforms)


def _print_structure(options: argparse.Namespace) -> int:
    from matsciml.commands.data_views import show_info

    console = Console(highlight=False)
    show_info(options.dataset, console)
    console.print("\nfirst sample")
    _print_tree(_dataset(options)[0], console)
    return 0


def _check_sample(options: argparse.Namespace) -> int:
    dataset = _dataset(options)
    if not 0 <= options.index < len(dataset):
        raise IndexError(
            f"INDEX must be from 0 to {len(dataset) - 1:,}, the last sample of {options.dataset}, "
            f"got {options.index}"
        )
    _print_tree(dataset[options.index], Console(highlight=False))
    return 0


def _interactive(options: argparse.Namespace) -> int:
    dataset = _dataset(options)
    code.interact(
        banner=f"`dataset` is {options.dataset} with {len(dataset):,} samples; dataset[0] is the first one",
        local={"dataset": dataset},
        exitmsg="",
    )
    return 0


def _dump_statistics(options: argparse.Namespace) -> int:
    import numpy as np

    dataset = _dataset(options)
    count = len(dataset) if options.num_samples is None else min(options.num_samples, len(dataset))
    if count < 1 or options.window_size < 1:
        raise ValueError(
            f"--num_samples and --window_size must be at least 1, got {options.num_samples} and "
            f"{options.window_size}"
        )
    chosen = np.random.default_rng(0).permutation(len(dataset))[:count]
    columns: dict[str, list[float]] = {}
    for index in chosen:
        for name, value in _numbers(dataset[int(index)]).items():
            columns.setdefault(name, []).append(value)
    table = Table(
        title=f"{count:,} samples; moving means over {min(options.window_size, count)}",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    for head in ("", "mean", "std", "min", "max", "moving means"):
        table.add_column(head, justify="right" if head else "left", no_wrap=True)
    for name, values in columns.items():
        numbers = [f"{each:.4g}" for each in (np.mean(values), np.std(values), min(values), max(values))]
        width = min(options.window_size, len(values))
        means = np.convolve(values, np.ones(width) / width, mode="valid")
        table.add_row(name, *numbers, f"{means.min():.4g} to {means.max():.4g}")
    Console(highlight=False).print(table)
    return 0


def _numbers(sample: Sample) -> dict[str, float]:
    """Return scalar values of a sample: numbers of atoms and edges, mean edge length and scalar targets."""
    found = {"atoms": float(len(sample["atomic_numbers"]))}
    if "distances" in sample:
        edges = len(sample["distances"])
        found |= {"edges": float(edges), "edges per atom": edges / found["atoms"]}
        if edges:
            found["mean edge length"] = float(sample["distances"].mean())
    for name, value in sample.get("targets", {}).items():
        if value.numel() == 1:
            found[name] = float(value)
    return found


def _print_tree(value: Mapping[str, object], console: Console, indent: str = "  ") -> None:
    for name, item in value.items():
        if isinstance(item, Mapping):
            console.print(f"{indent}{name}")
            _print_tree(item, console, indent + "  ")
        else:
            console.print(f"{indent}{name}{_describe(item)}", markup=False)


def _describe(item: object) -> str:
    """Describe a value in one line. Tensors with more than nine elements are shown without their values."""
    from torch import Tensor

    if not isinstance(item, Tensor):
        return f"  {' '.join(str(item).split())}"
    shape = f" {list(item.shape)} {str(item.dtype).removeprefix('torch.')}"
    return f"{shape}  {item.tolist() if item.numel() <= 9 else ''}"
