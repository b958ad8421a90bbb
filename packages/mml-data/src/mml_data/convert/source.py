"""What can be imported: a source in parts, each of which a process can read for itself."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

__all__ = ["Item", "Part", "Source", "balanced", "existing"]

Item = tuple[str, Mapping[str, Any] | Exception]
"""A place, for messages (``file:line``), and what is there: a structure, or why it cannot be read."""


class Part(Protocol):
    """Some of a source's structures, in order; it can be pickled."""

    def read(self, start: int = 0) -> Iterator[Item]:
        """Yield the items from number `start` on; those before are passed over as cheaply as can be."""
        ...


class Source(Protocol):
    """Structures that can be imported."""

    may_lack: bool
    """Whether a target that a structure does not have is missing there; else that is an error."""

    units: Mapping[str, str]
    """Units that are known of its targets, such as ``{"targets.band_gap": "eV"}``."""

    def describe(self) -> dict[str, Any]:
        """Say what it is, for the manifest: ``origin``, ``format``, and what else there is to know."""
        ...

    def parts(self, count: int) -> list[Part]:
        """Divide it into `count` parts, or less; together, in order, they are all of it."""
        ...


def existing(path: str | Path) -> Path:
    """Return `path` if there is something.

    Raises
    ------
    FileNotFoundError
        Where there is nothing.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no file {str(path)!r} to import")
    return path


def balanced(sizes: list[int], count: int) -> list[slice]:
    """Cut a list into `count` pieces in a row, or less, of about the same total size."""
    pieces: list[slice] = []
    total, first, done = sum(sizes), 0, 0
    for index, size in enumerate(sizes):
        done += size
        full = len(pieces) < count - 1 and done >= total * (len(pieces) + 1) / count
        if full or index == len(sizes) - 1:
            pieces.append(slice(first, index + 1))
            first = index + 1
    return pieces
