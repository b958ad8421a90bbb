"""Read JSON lines files with one structure per line.

A line is an object with the keys ``atomic_numbers``, [N], and ``positions``, [N][3] (Cartesian, in angstrom).
A periodic structure also has ``cell``, [3][3] (rows are the lattice vectors, in angstrom). Optional keys are
``pbc``, [3]; ``targets`` (name to number, boolean or nested list); ``extra`` (any value); and ``dataset``,
``index`` and ``coords_stored``, which describe the origin of the structure and are stored under ``extra``.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from mml_data.importers.formats import Format
from mml_data.importers.source import Item, Part, Structure

__all__ = ["FORMAT", "read_lines"]

_ORIGIN_KEYS = ("dataset", "index", "coords_stored")
_KEYS = frozenset({"atomic_numbers", "positions", "cell", "pbc", "targets", "extra", *_ORIGIN_KEYS})
_BLOCK = 1 << 24
_BOM = b"\xef\xbb\xbf"
_FIRST_KEY = re.compile(rb'^\s*\{\s*"(\w+)"\s*:')


def read_lines(path: Path) -> Iterator[Item]:
    """Yield the structures of a file."""
    return _Lines(path, 0, path.stat().st_size, 1).read()


def _parts(path: Path, count: int) -> list[Part]:
    """Divide a file at the ends of lines."""
    size = path.stat().st_size
    parts: list[Part] = []
    start, line = 0, 1
    with path.open("rb") as file:
        for number in range(1, count + 1):
            file.seek(max(start, size * number // count - 1))
            file.readline()
            end = min(file.tell(), size) if number < count else size
            if end > start:
                parts.append(_Lines(path, start, end, line))
                if number < count:
                    line += _count_lines(path, start, end)
                start = end
    return parts


@dataclass(frozen=True)
class _Lines:
    path: Path
    start: int
    end: int
    first_line: int

    def read(self, start: int = 0) -> Iterator[Item]:
        seen, position = 0, self.start
        prefix = f"{self.path}:"
        with self.path.open("rb") as file:
            file.seek(self.start)
            for number, line in enumerate(file, self.first_line):
                if position >= self.end:
                    return
                position += len(line)
                if line.isspace():
                    continue
                seen += 1
                if seen > start:
                    try:
                        item: Structure | Exception = _to_structure(_parse(line), number - 1)
                    except ValueError as error:
                        item = error
                    yield f"{prefix}{number}", item


def _count_lines(path: Path, start: int, end: int) -> int:
    lines = 0
    with path.open("rb") as file:
        file.seek(start)
        while start < end:
            block = file.read(min(_BLOCK, end - start))
            lines += block.count(b"\n")
            start += len(block)
    return lines


def _parse(line: bytes) -> dict[str, Any]:
    try:
        content = orjson.loads(line.removeprefix(_BOM))
    except ValueError as error:
        if b"NaN" in line or b"Infinity" in line:
            return _parse_with_nan(line)
        raise ValueError(f"the line is not valid JSON: {error}; write one object per line") from error
    if not isinstance(content, dict):
        raise ValueError(f"a line must be a JSON object, got {type(content).__name__}")
    return content


def _parse_with_nan(line: bytes) -> dict[str, Any]:
    """Parse a line with NaN or Infinity, which JSON does not know, but Python's json writes."""
    import json

    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the line is not valid JSON: {error}; write one object per line") from error
    if not isinstance(content, dict):
        raise ValueError(f"a line must be a JSON object, got {type(content).__name__}")
    return content


def _to_structure(content: dict[str, Any], frame: int) -> Structure:
    if not content.keys() <= _KEYS:
        key = next(key for key in content if key not in _KEYS)
        raise ValueError(f"unknown key {key!r}; put labels under 'targets', and other values under 'extra'")
    extra = content.get("extra")
    if extra is not None and not isinstance(extra, dict):
        raise ValueError(f"'extra' must be an object, got {type(extra).__name__}")
    extra = {"frame": frame, **(extra or {})}
    for key in _ORIGIN_KEYS:
        if key in content:
            if key in extra and extra[key] != content[key]:
                raise ValueError(
                    f"{key!r} is {content[key]!r}, but {extra[key]!r} under 'extra'; remove one of them"
                )
            extra[key] = content.pop(key)
    content["extra"] = extra
    return content


def _matches(name: str, head: bytes) -> bool:
    first = _FIRST_KEY.match(head.removeprefix(_BOM))
    if first is None:
        return False
    start = head[: head.find(b"\n") if b"\n" in head else len(head)]
    is_ours = b'"atomic_numbers"' in start and b'"positions"' in start
    return is_ours or (name.endswith((".jsonl", ".ndjson")) and first[1].decode() in _KEYS)


FORMAT = Format(
    name="JSON lines",
    files="*.jsonl with atomic_numbers and positions",
    labels="values under targets, in the units of this project",
    matches=_matches,
    read=read_lines,
    parts=_parts,
    catches_warnings=False,
)
