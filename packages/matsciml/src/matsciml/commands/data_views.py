"""The output of `matsciml data` for one data set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mml_data import Manifest
from mml_data.store.stored_dataset import StoredDataset
from rich.console import Console
from rich.table import Table
from rich.text import Text

BAR = 30
MOST_ELEMENTS = 20


def show_info(path: Path, console: Console) -> None:
    """Print the contents of a data set's manifest.

    Parameters
    ----------
    path
        Directory of the data set.
    console
        Console to print to.
    """
    manifest = Manifest.read(path)
    about = manifest.statistics["all"]
    num_atoms = about["natoms"]
    splits = ", ".join(f"{entry.count:,} {name}" for name, entry in manifest.splits.items())
    size = sum(file.stat().st_size for file in path.iterdir())
    shards = f"{len(manifest.shards)} shard{'s' if len(manifest.shards) > 1 else ''}"
    facts = {
        "data set": f"{manifest.name} ({path})",
        "structures": f"{manifest.num_samples:,}",
        "splits": splits or "none",
        "atoms": f"{num_atoms['min']:.0f} to {num_atoms['max']:.0f} per structure, mean "
        f"{num_atoms['mean']:.1f}",
        "elements": " ".join(sorted(about["elements"])),
        "on disk": f"{size / 1e6:,.1f} MB in {shards}" + (", zstd" if manifest.compression else ""),
        **{key: str(value) for key, value in manifest.source.items() if not isinstance(value, dict | list)},
    }
    if manifest.transforms is not None:
        facts["transforms"] = ", ".join(_transform(each) for each in manifest.transforms["list"])
    console.print(_pairs(facts))
    console.print()
    console.print(_targets(manifest, "all"))


def show_statistics(path: Path, split: str, console: Console) -> None:
    """Print the distributions of elements, numbers of atoms and targets.

    Parameters
    ----------
    path
        Directory of the data set.
    split
        Name of a recorded split, or ``"all"``.
    console
        Console to print to.

    Raises
    ------
    ValueError
        If the split does not exist.
    """
    dataset = StoredDataset(path, split=None if split == "all" else split)
    about = dataset.manifest.statistics[split]
    chosen = "" if split == "all" else f", split {split}"
    console.print(f"[bold]{about['count']:,} structures[/] of {dataset.name}{chosen}\n")
    elements = sorted(about["elements"].items(), key=lambda item: -item[1])
    console.print(_bars("atoms of each element", dict(elements[:MOST_ELEMENTS])))
    if len(elements) > MOST_ELEMENTS:
        console.print(f"and {len(elements) - MOST_ELEMENTS} more elements")
    console.print()
    console.print(_bars("structures by number of atoms", _histogram(dataset.sizes())))
    console.print()
    console.print(_targets(dataset.manifest, split))
    fitted = {name: each for name, each in about["targets"].items() if "reference_energies" in each}
    for name, each in fitted.items():
        energies = ", ".join(f"{key} {value:.4g}" for key, value in each["reference_energies"].items())
        residual = f"residual std {each['per_atom_residual_std']:.4g} per atom"
        rank, count = each["reference_rank"], len(each["reference_energies"])
        known = "" if rank == count else f"; the compositions determine {rank} of {count}"
        console.print()
        console.print(Text(f"least-squares {name} per element ({residual}{known}): {energies}"))


def show_sample(path: Path, index: int, split: str | None, console: Console) -> None:
    """Print one sample.

    Parameters
    ----------
    path
        Directory of the data set.
    index
        Index of the sample in the split.
    split
        Name of a recorded split. None selects all samples.
    console
        Console to print to.

    Raises
    ------
    ValueError
        If the index is out of range.
    """
    dataset = StoredDataset(path, split=split)
    try:
        sample = dataset.stored(index)
    except IndexError:
        raise ValueError(
            f"INDEX must be below {len(dataset):,}, the number of samples in {dataset.name}, got {index}"
        ) from None
    console.print(_pairs(dict(_leaves(sample))))


def _leaves(sample: Mapping[str, object], prefix: str = "") -> list[tuple[str, str]]:
    lines: list[tuple[str, str]] = []
    for name, value in sample.items():
        if isinstance(value, Mapping) and value:
            lines += _leaves(value, f"{prefix}{name}.")
        elif isinstance(value, np.ndarray):
            text = np.array2string(value, precision=5, suppress_small=True, threshold=30, edgeitems=3)
            head = f"{value.dtype} {list(value.shape)}"
            lines.append((prefix + name, f"{head}\n{text}" if value.ndim > 1 else f"{head} {text}"))
        else:
            lines.append((prefix + name, str(value)))
    return lines


def _pairs(facts: Mapping[str, str]) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in facts.items():
        table.add_row(Text(key), Text(value))
    return table


def _targets(manifest: Manifest, split: str) -> Table:
    targets = manifest.statistics[split]["targets"]
    lacking = any("missing" in numbers for numbers in targets.values())
    table = Table(box=None, pad_edge=False)
    for column in ("target", "unit", "mean", "std", "min", "max", "values", *["missing in"] * lacking):
        table.add_column(column, justify="left" if column in ("target", "unit") else "right")
    for name, numbers in targets.items():
        missing = [_missing(numbers)] * lacking
        if "classes" in numbers:
            classes = f"{len(numbers['classes'])} classes"
            table.add_row(Text(name), Text(classes), *[""] * 4, f"{numbers['count']:,}", *missing)
            continue
        unit = manifest.schema.get(f"targets.{name}", {}).get("units") or ""
        values = [f"{numbers[key]:.4g}" if key in numbers else "-" for key in ("mean", "std", "min", "max")]
        table.add_row(Text(name), Text(unit), *values, f"{numbers['count']:,}", *missing)
    return table


def _missing(numbers: Mapping[str, object]) -> str:
    """Return the number of structures without a target. Older manifests count only missing components."""
    if "missing" not in numbers:
        return ""
    count = numbers.get("missing_structures")
    return (
        "some structures" if not isinstance(count, int) else f"{count:,} structure{'s' if count > 1 else ''}"
    )


def _bars(title: str, counts: Mapping[str, int]) -> Table:
    table = Table(
        box=None, pad_edge=False, title=title, title_justify="left", title_style="bold", show_header=False
    )
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, width=BAR, style="cyan")
    table.add_column(justify="right")
    most = max(counts.values(), default=1)
    for name, count in counts.items():
        table.add_row(Text(name), "█" * max(round(BAR * count / most), int(count > 0)), f"{count:,}")
    return table


def _histogram(sizes: np.ndarray) -> dict[str, int]:
    """Count the sizes in at most ten ranges of integers."""
    low, high = int(sizes.min()), int(sizes.max())
    step = max(1, -(-(high - low + 1) // 10))
    edges = np.arange(low, high + step + 1, step)
    counts, _ = np.histogram(sizes, edges)
    return {
        str(start) if step == 1 else f"{start} - {start + step - 1}": int(count)
        for start, count in zip(edges.tolist(), counts, strict=False)
    }


def _transform(described: Mapping[str, Any]) -> str:
    options = ", ".join(f"{key}={value}" for key, value in described.get("options", {}).items())
    return f"{described['name'].rpartition('.')[2]}({options})"
