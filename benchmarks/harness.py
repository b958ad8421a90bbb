"""Shared parts of all benchmarks: command line, description of the machine, medians with their range."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Timing:
    """Median and range of repeated measurements."""

    median: float
    low: float
    high: float
    repeats: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Timing:
        """Summarize measurements."""
        return cls(statistics.median(values), min(values), max(values), len(values))

    def show(self, factor: float = 1.0, digits: int = 2) -> str:
        """Return `median (low - high)`, each multiplied by `factor`."""
        median, low, high = (f"{v * factor:.{digits}f}" for v in (self.median, self.low, self.high))
        return f"{median} ({low} - {high})"


def parse_arguments(
    description: str | None, parts: Sequence[str] = (), keeps: bool = False
) -> argparse.Namespace:
    """Return the options of a benchmark, with `--only` if it has parts and `--keep` if it can continue."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="use fewer repeats and finish within about a minute"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers to a file")
    if keeps:
        parser.add_argument(
            "--keep",
            action="store_true",
            help="measure only results that the file of --json does not contain",
        )
    if parts:
        parser.add_argument("--only", choices=parts, metavar="PART", help=f"run one part: {', '.join(parts)}")
    return parser.parse_args()


def describe_machine(*packages: str) -> dict[str, str]:
    """Return and print the machine and the versions of `packages`."""
    about = {
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
    }
    print("  ".join(f"{key} {value}" if key != "machine" else value for key, value in about.items()))
    return about


def write_json(path: Path | None, about: dict[str, str], results: dict[str, Any]) -> None:
    """Write the numbers to the file of `--json`, if given."""
    if path is not None:
        plain = {key: asdict(value) if isinstance(value, Timing) else value for key, value in results.items()}
        path.write_text(json.dumps({"about": about, "results": plain}, indent=2) + "\n", encoding="utf-8")
