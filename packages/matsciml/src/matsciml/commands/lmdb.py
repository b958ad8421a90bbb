"""The commands of the older toolkit's ``lmdb_cli``, as `matsciml data print-structure` and others."""

from __future__ import annotations

import argparse
import code
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

PERIODIC_RADIUS = 6.0


def add_lmdb_cli(commands: Any, path: Any) -> None:
    """Add the commands to the subcommands of ``data``.

    Parameters
    ----------
    commands
        Return value of `argparse`'s ``add_subparsers``.
    path
        Function that returns the directory of a data set named on the command line.
    """
    for name, action, text in (
        (
            "print-structure",
            _print_structure,
            "of lmdb_cli: a data set, and its first sample",
        ),
        (
            "check-sample",
            _check_sample,
            "of lmdb_cli: one sample, also with neighbours",
        ),
        ("interactive", _interactive, "of lmdb_cli: a Python session with the data"),
        (
            "dump-statistics",
            _dump_statistics,
            "of lmdb_cli: numbers of random samples",
        ),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("dataset", metavar="LMDB_DIR", type=path, help="a data set's directory")
        if name == "check-sample":
            command.add_argument("index", metavar="INDEX", type=int, help="which one")
        command.add_argument("-d", "--dataset_type", help="was needed to read; the data set says it itself")
        command.add_argument("-p", "--periodic", action="store_true", help="find periodic neighbours")
        command.add_argument(
            "-r",
            "--radius",
            type=float,
            default=PERIODIC_RADIUS,
            help=f"up to where, in angstrom (default: {PERIODIC_RADIUS:g})",
        )
        command.add_argument(
            "-a", "--adaptive_cutoff", action="store_true", help="grow it where an atom is alone"
        )
        command.add_argument("-g", "--graph_backend", choices=("pyg", "dgl"), help="make graphs")
        if name == "dump-statistics":
            command.add_argument("-n", "--num_samples", type=int, help="of how many samples (default: all)")
            command.add_argument(
                "-w", "--window_size", type=int, default=10, help="samples in a moving mean (default: 10)"
            )
        command.set_defaults(action=action)


def _dataset(options: argparse.Namespace) -> Any:
    from mml_data import LMDBDataset
    from mml_graphs import PeriodicPropertiesTransform, PointCloudToGraphTransform

    transforms: list[Any] = []
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
    console.print("\nin its first sample")
    _print_tree(_dataset(options)[0], console)
    return 0


def _check_sample(options: argparse.Namespace) -> int:
    dataset = _dataset(options)
    if not 0 <= options.index < len(dataset):
        raise IndexError(
            f"INDEX {options.index} is not one of the {len(dataset):,} samples of {options.dataset}"
        )
    _print_tree(dataset[options.index], Console(highlight=False))
    return 0


def _interactive(options: argparse.Namespace) -> int:
    dataset = _dataset(options)
    code.interact(
        banner=f"`dataset` is {options.dataset} with {len(dataset):,} samples; dataset[0] is the first",
        local={"dataset": dataset},
        exitmsg="",
    )
    return 0


def _dump_statistics(options: argparse.Namespace) -> int:
    dataset = _dataset(options)
    count = len(dataset) if options.num_samples is None else min(options.num_samples, len(dataset))
    if count < 1 or options.window_size < 1:
        raise ValueError("--num_samples and --window_size must be at least 1")
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


def _numbers(sample: dict[str, Any]) -> dict[str, float]:
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


def _print_tree(value: dict[str, Any], console: Console, indent: str = "  ") -> None:
    for name, item in value.items():
        if isinstance(item, dict):
            console.print(f"{indent}{name}")
            _print_tree(item, console, indent + "  ")
        else:
            shape = (
                f" {list(item.shape)} {str(item.dtype).removeprefix('torch.')}"
                if hasattr(item, "shape")
                else ""
            )
            text = (
                "" if shape and item.numel() > 9 else " ".join(str(item.tolist() if shape else item).split())
            )
            console.print(f"{indent}{name}{shape}  {text}", markup=False)
