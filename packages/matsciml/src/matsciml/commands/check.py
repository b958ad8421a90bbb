"""`matsciml check`: show the installed versions, the available devices, and how to install optional parts."""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata

from packaging.requirements import Requirement
from rich.console import Console
from rich.table import Table

PACKAGES = (
    *("matsciml", "mml-samples", "mml-graphs", "mml-data", "mml-models", "mml-tasks"),
    *("mml-xpu", "mml-distributed", "mml-diagnostics"),
)
LIBRARIES = ("torch", "pytorch-lightning", "torch-geometric", "numpy", "pymatgen-core", "lmdb")
PURPOSE = {
    "ase": "read ASE's formats, write extended XYZ, run the calculator",
    "completion": "generate shell completion scripts",
    "convert": "read ASE databases, including .aselmdb files",
    "dgl": "use DGL graphs (Python 3.11)",
    "mace": "use the encoders of MACE",
    "matgl": "use the encoders of MatGL",
    "mpi": "run Open MPI on several nodes without MASTER_ADDR",
    "nequip": "use the encoders of NequIP",
    "tensorboard": "log to TensorBoard",
    "wandb": "log to Weights & Biases",
    "zstd": "compress data sets",
}


@dataclass(frozen=True)
class Part:
    """An extra of a package.

    Attributes
    ----------
    extra
        Name of the extra.
    installed
        ``name version`` of the installed libraries.
    missing
        Requirements that are not installed, or not in a supported version.
    """

    extra: str
    installed: list[str]
    missing: list[str]


def run_check(arguments: list[str]) -> int:
    """Print the tables and return the exit status.

    Parameters
    ----------
    arguments
        Arguments after ``check`` on the command line.
    """
    argparse.ArgumentParser(
        prog="matsciml check",
        description="Show the installed versions, the available devices, and how to install optional parts.",
    ).parse_args(arguments)
    console = Console(highlight=False)
    for title, rows in (
        ("versions", versions()),
        ("devices", devices()),
        ("distributed training", processes()),
        ("optional parts", (_row(part) for part in optional_parts())),
    ):
        table = Table(title=title, title_justify="left", title_style="bold", box=None, show_header=False)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for row in rows:
            table.add_row(*row)
        console.print(table)
        console.print()
    return 0


def versions() -> Iterator[tuple[str, str]]:
    """Yield the names and versions of the toolkit's packages and of the libraries that they depend on."""
    yield "Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    for name in (*PACKAGES, *LIBRARIES):
        yield name, _version(name) or "missing: pip install " + name
    yield "neighbor search", neighbor_search()


def neighbor_search() -> str:
    """Return the search that ``backend="auto"`` selects, and how to get the fastest one."""
    from mml_graphs.neighbors import backends, native

    name = backends.choose_backend()
    reason = native.why_not()
    return f"{name} (compiled)" if reason is None else f"{name}, which is slower: {reason}"


def devices() -> Iterator[tuple[str, str]]:
    """Yield the devices that torch can use, and the reason if a type of device is unavailable."""
    import torch
    from mml_xpu.devices import device_count, why_none

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = torch.get_num_threads()
    yield "CPU", f"{cores} cores; torch uses {threads} thread{'s' if threads > 1 else ''}"
    if count := torch.cuda.device_count():
        names = {torch.cuda.get_device_name(index) for index in range(count)}
        yield "CUDA", f"{count} x {', '.join(sorted(names))}"
    else:
        built = torch.version.cuda or torch.version.hip
        yield "CUDA", "none: " + ("no device is visible" if built else "this build of torch has no CUDA")
    yield (
        "Intel GPU",
        f"{device_count()} devices; run mml-xpu check to test them"
        if device_count()
        else f"none: {why_none()}",
    )
    if platform.system() == "Darwin":
        yield "Apple GPU", "available" if torch.backends.mps.is_available() else "none"


def processes() -> Iterator[tuple[str, str]]:
    """Yield the launcher of this process and the communication libraries that are available to the ranks."""
    from mml_distributed import read_launch

    try:
        launch = read_launch()
        yield "launcher", f"{launch.launcher}: rank {launch.rank} of {launch.size}"
    except RuntimeError:
        yield "launcher", "none: this process was not started by mpirun, mpiexec or srun"
    except ValueError as error:
        yield "launcher", f"contradictory environment: {error}"
    yield "mpi4py", _version("mpi4py") or "not installed (optional)"
    found = [name for name in ("gloo", "nccl", "xccl", "mpi") if _has_backend(name)]
    yield "torch backends", ", ".join(found) or "none: this build of torch has no torch.distributed"


def optional_parts() -> list[Part]:
    """Return the extras of `matsciml` with their installed and missing libraries."""
    extras = metadata.metadata("matsciml").get_all("Provides-Extra") or []
    return [part_of("matsciml", extra) for extra in sorted(extras)]


def part_of(package: str, extra: str) -> Part:
    """Return an extra of a package with its installed and missing libraries."""
    installed, missing = [], []
    for requirement in _required(package, extra):
        version = _version(requirement.name)
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            missing.append(str(requirement).partition(";")[0].strip())
        else:
            installed.append(f"{requirement.name} {version}")
    return Part(extra, installed, missing)


def _required(package: str, extra: str) -> Iterator[Requirement]:
    """Yield the libraries that an extra requires on this machine, including those of nested extras."""
    for requirement in map(Requirement, _requires(package)):
        marker = requirement.marker
        if marker is None or marker.evaluate({"extra": ""}) or not marker.evaluate({"extra": extra}):
            continue
        if requirement.name in PACKAGES:
            for inner in sorted(requirement.extras):
                yield from _required(requirement.name, inner)
        else:
            yield requirement


def _requires(package: str) -> Iterable[str]:
    try:
        return metadata.requires(package) or ()
    except metadata.PackageNotFoundError:
        return ()


def _row(part: Part) -> tuple[str, str]:
    purpose = PURPOSE.get(part.extra, "")
    purpose = f"{purpose}: " if purpose else ""
    if part.missing:
        return part.extra, f"{purpose}pip install 'matsciml\\[{part.extra}]'"
    return part.extra, f"{purpose}{', '.join(part.installed) or 'requires nothing on this machine'}"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _has_backend(name: str) -> bool:
    from torch import distributed

    if not distributed.is_available():
        return False
    available = getattr(distributed, f"is_{name}_available", None)
    return bool(available and available())
