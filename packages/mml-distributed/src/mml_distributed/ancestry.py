"""The ancestors of this process, which show which launcher started it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """A process: its id, its name (at most 15 characters) and its start time in clock ticks since boot."""

    pid: int
    name: str
    start: int


def parse_stat(text: str) -> tuple[str, int, int]:
    """Return name, parent id and start time from `/proc/<pid>/stat` (fields 2, 4 and 22 of proc(5))."""
    # The name is enclosed in parentheses and may itself contain spaces and parentheses.
    end = text.rindex(")")
    fields = text[end + 2 :].split()
    return text[text.index("(") + 1 : end], int(fields[1]), int(fields[19])


def ancestors(proc: Path = Path("/proc")) -> list[Process]:
    """Return the ancestors of this process, nearest first. The list is empty without /proc, as on macOS."""
    found: list[Process] = []
    pid = os.getppid()
    while pid > 0:
        try:
            name, parent, start = parse_stat((proc / str(pid) / "stat").read_text(errors="replace"))
        except (OSError, ValueError):  # the process has ended, or is outside this container
            break
        found.append(Process(pid, name, start))
        pid = parent
    return found
