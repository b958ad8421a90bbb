"""Protocols of sources, which consist of parts that a process can read independently."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeAlias

__all__ = ["Item", "Part", "Source", "Structure", "balanced", "existing"]

Structure: TypeAlias = dict[str, Any]
"""Structure as read from a file, see `mml_data.importers.structure`."""

Item = tuple[str, Mapping[str, object] | Exception]
"""Position for messages (``file:line``), and the structure at this position or the error of reading it."""


class Part(Protocol):
    """Consecutive structures of a source. A part can be pickled."""

    def read(self, start: int = 0) -> Iterator[Item]:
        """Yield the items from number `start` on. Earlier items are skipped as efficiently as possible."""
        ...


class Source(Protocol):
    """Structures that can be imported."""

    units: Mapping[str, str]
    """Known units of the targets, such as ``{"targets.band_gap": "eV"}``."""

    def describe(self) -> dict[str, object]:
        """Return the description for the manifest: ``origin``, ``format``, and further values."""
        ...

    def parts(self, count: int) -> list[Part]:
        """Divide the source into at most `count` parts, which together contain all structures in order."""
        ...


def existing(path: str | Path) -> Path:
    """Return `path` if it exists.

    Raises
    ------
    FileNotFoundError
        If `path` does not exist.
    """
    if re.match(r"(https?|ftp|s3|gs|hf):/", str(path)):
        raise FileNotFoundError(f"{str(path)!r} is an address; download the file first, and pass its path")
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{str(path)!r} does not exist; pass an existing file or directory")
    return path


def balanced(sizes: list[int], count: int) -> list[slice]:
    """Cut a list of sizes into at most `count` consecutive slices with about the same total size."""
    pieces: list[slice] = []
    total, first, done = sum(sizes), 0, 0
    for index, size in enumerate(sizes):
        done += size
        full = len(pieces) < count - 1 and done >= total * (len(pieces) + 1) / count
        if full or index == len(sizes) - 1:
            pieces.append(slice(first, index + 1))
            first = index + 1
    return pieces
