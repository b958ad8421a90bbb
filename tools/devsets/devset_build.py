"""Common parts of the scripts that create the embedded data sets: writing, checking and the command line."""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mml_data.store.manifest import MANIFEST_FILE
from mml_data.store.writer import LMDBWriter

EMBEDDED = Path(__file__).resolve().parents[2] / "packages" / "mml-data" / "src" / "mml_data" / "_devsets"
#: Sums over the data set and least squares in the manifest may differ in the last bits between processors.
STATISTICS_TOLERANCE = 1e-9

Sample = dict[str, Any]


def reduced_formula(symbols: Sequence[str]) -> str:
    """Elements in alphabetical order with their smallest whole numbers, as in ``AlNi3``."""
    counts = Counter(symbols)
    divisor = math.gcd(*counts.values())
    return "".join(f"{s}{n if (n := counts[s] // divisor) > 1 else ''}" for s in sorted(counts))


def write(
    path: Path,
    name: str,
    samples: Iterator[tuple[str, Sample]],
    source: Mapping[str, Any],
    units: Mapping[str, str],
) -> None:
    """Write samples, each paired with the name of its split, as the data set at `path`."""
    splits: dict[str, list[int]] = {"train": [], "val": [], "test": []}
    with LMDBWriter(path, name=name, source=source, units=units, overwrite=True) as writer:
        for split, sample in samples:
            splits[split].append(len(writer))
            writer.add(sample)
        writer.set_splits(splits)


def differences(made: Path, embedded: Path) -> list[str]:
    """Return the differences between two data sets, file by file; empty if all bytes are equal."""
    if not embedded.is_dir():
        return [f"{embedded} has no data set"]
    names = [sorted(file.name for file in path.iterdir()) for path in (made, embedded)]
    if names[0] != names[1]:
        return [f"created {names[0]}, embedded {names[1]}"]
    return [f"{name} differs" for name in names[0] if not _same(made / name, embedded / name)]


def _same(made: Path, embedded: Path) -> bool:
    if made.read_bytes() == embedded.read_bytes():
        return True
    if made.name != MANIFEST_FILE:
        return False
    first, second = (json.loads(path.read_text(encoding="utf-8")) for path in (made, embedded))
    return _close(first.pop("statistics"), second.pop("statistics")) and first == second


def _close(first: Any, second: Any) -> bool:
    if isinstance(first, float) and isinstance(second, float):
        return math.isclose(first, second, rel_tol=STATISTICS_TOLERANCE, abs_tol=STATISTICS_TOLERANCE)
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(_close(first[key], second[key]) for key in first)
    return bool(first == second)


def main(
    name: str,
    samples: Iterator[tuple[str, Sample]],
    source: Mapping[str, Any],
    units: Mapping[str, str] | None = None,
) -> int:
    """Run a script's command line: write the data set, or compare it with the embedded one (``--check``)."""
    parser = argparse.ArgumentParser(description=f"Create the embedded data set {name!r}.")
    parser.add_argument(
        "--out", type=Path, default=EMBEDDED / name, help="directory to write (default: that of the package)"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing, and exit with 1 if the result differs from the embedded data set",
    )
    arguments = parser.parse_args()
    if not arguments.check:
        write(arguments.out, name, samples, source, units or {})
        size = sum(file.stat().st_size for file in arguments.out.iterdir())
        print(f"wrote {arguments.out}: {size / 1e6:.2f} MB")
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        made = Path(temporary) / name
        write(made, name, samples, source, units or {})
        found = differences(made, arguments.out)
    for line in found:
        print(f"{name}: {line}")
    print(f"{arguments.out}: {'NOT reproduced' if found else 'reproduced'}")
    return 1 if found else 0
