"""Read JSON lines files with one structure per line.

A line is an object with the keys ``atomic_numbers``, [N], and ``positions``, [N][3] (Cartesian, in angstrom).
A periodic structure also has ``cell``, [3][3] (rows are the lattice vectors, in angstrom). Optional keys are
``pbc``, [3]; ``targets`` (name to number, boolean or nested list); ``extra`` (any value); and ``dataset``,
``index`` and ``coords_stored``, which describe the origin of the structure and are stored under ``extra``.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mml_data.importers.files import file_checksum
from mml_data.importers.source import Item, Part

__all__ = ["JSONLines"]

_ORIGIN_KEYS = ("dataset", "index", "coords_stored")
_KEYS = ("atomic_numbers", "positions", "cell", "pbc", "targets", "extra", *_ORIGIN_KEYS)
_BLOCK = 1 << 24


class JSONLines:
    """Source for the structures of a JSON lines file.

    Parameters
    ----------
    path
        Path of the file.
    """

    may_lack = False
    units: Mapping[str, str] = {}

    def __init__(self, path: Path) -> None:
        self.path = path

    def describe(self) -> dict[str, object]:
        """Return the description of the source for the manifest."""
        return {"origin": self.path.name, "format": "JSON lines", "sha256": file_checksum(self.path)}

    def parts(self, count: int) -> list[Part]:
        """Divide the file at the ends of lines."""
        size = self.path.stat().st_size
        parts: list[Part] = []
        start, line = 0, 1
        with self.path.open("rb") as file:
            for number in range(1, count + 1):
                file.seek(max(start, size * number // count - 1))
                file.readline()
                end = min(file.tell(), size) if number < count else size
                if end > start:
                    parts.append(_Lines(self.path, start, end, line))
                    if number < count:
                        line += _count_lines(self.path, start, end)
                    start = end
        return parts


@dataclass(frozen=True)
class _Lines:
    path: Path
    start: int
    end: int
    first_line: int

    def read(self, start: int = 0) -> Iterator[Item]:
        seen = 0
        with self.path.open("rb") as file:
            file.seek(self.start)
            line_number = self.first_line - 1
            while file.tell() < self.end:
                line = file.readline()
                line_number += 1
                if not line.strip():
                    continue
                seen += 1
                if seen > start:
                    yield f"{self.path}:{line_number}", _read_line(line)


def _count_lines(path: Path, start: int, end: int) -> int:
    lines = 0
    with path.open("rb") as file:
        file.seek(start)
        while start < end:
            block = file.read(min(_BLOCK, end - start))
            lines += block.count(b"\n")
            start += len(block)
    return lines


def _read_line(line: bytes) -> dict[str, object] | Exception:
    try:
        return _to_structure(_parse(line))
    except ValueError as error:
        return error


def _parse(line: bytes) -> dict[str, object]:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the line is not valid JSON: {error}; write one object per line") from error
    if not isinstance(content, dict):
        raise ValueError(f"a line must be a JSON object, got {type(content).__name__}")
    return content


def _to_structure(content: dict[str, object]) -> dict[str, object]:
    for key in content:
        if key not in _KEYS:
            raise ValueError(
                f"unknown key {key!r}; put labels under 'targets', and other values under 'extra'"
            )
    extra = content.get("extra")
    if extra is not None and not isinstance(extra, dict):
        raise ValueError(f"'extra' must be an object, got {type(extra).__name__}")
    extra = dict(extra or {})
    for key in _ORIGIN_KEYS:
        if key in content:
            if key in extra and extra[key] != content[key]:
                raise ValueError(
                    f"{key!r} is {content[key]!r}, but {extra[key]!r} under 'extra'; remove one of them"
                )
            extra[key] = content.pop(key)
    return content | ({"extra": extra} if extra else {})
