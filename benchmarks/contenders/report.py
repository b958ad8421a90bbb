"""Tables in Markdown, and the list of targets with the measured values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness import Timing


def milliseconds(timing: Timing) -> str:
    """Return `median (low - high)` in ms, with three significant digits."""
    return timing.show(1e3, 3 if timing.median < 0.01 else 1)


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table in Markdown, with the first column left-aligned and the others right-aligned."""
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    lines.insert(1, ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    for line in lines:
        cells = [line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))]
        print(f"| {' | '.join(cells)} |")


@dataclass
class Report:
    """The results for `--json`, and the targets.

    Attributes
    ----------
    results
        Numbers by name.
    asked
        Rows of quantity, target, measured value and verdict.
    """

    results: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[str, str, str, str]] = field(default_factory=list)

    def at_most(self, what: str, value: float, limit: float, note: str = "") -> None:
        """Add a ratio with an upper limit."""
        self._add(what, f"at most {limit:g}", value, bool(value <= limit), note)

    def at_least(self, what: str, value: float, limit: float, note: str = "") -> None:
        """Add a ratio with a lower limit."""
        self._add(what, f"at least {limit:g}", value, bool(value >= limit), note)

    def _add(self, what: str, target: str, value: float, good: bool, note: str) -> None:
        holds = "not measured" if math.isnan(value) else "yes" if good else "NO"
        shown = "" if math.isnan(value) else f"{value:.2f}"
        self.asked.append((what, target, f"{shown} ({note})" if note else shown, holds))
        self.results[f"asked: {what}"] = {"target": target, "measured": float(value), "holds": holds}

    def print_asked(self) -> None:
        """Print the rows."""
        print("\n### Targets\n")
        print_table(("what", "target", "measured", "holds"), self.asked)
