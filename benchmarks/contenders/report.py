"""Tables in Markdown, and the list of what was asked for and what came out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness import Timing


def milliseconds(timing: Timing) -> str:
    """Return `median (low - high)` in ms, with three digits that mean something."""
    return timing.show(1e3, 3 if timing.median < 0.01 else 1)


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table in Markdown, the first column to the left, the others to the right."""
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    lines.insert(1, ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    for line in lines:
        cells = [line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))]
        print(f"| {' | '.join(cells)} |")


@dataclass
class Report:
    """What `--json` writes, and what was asked for.

    Attributes
    ----------
    results
        Numbers by name.
    asked
        Rows of what, target, measured, and whether it holds.
    """

    results: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[str, str, str, str]] = field(default_factory=list)

    def ask(
        self,
        what: str,
        value: float,
        *,
        most: float | None = None,
        least: float | None = None,
        note: str = "",
    ) -> None:
        """Add a row: a ratio, and the limit that it is to stay below (`most`) or to reach (`least`)."""
        good = value <= most if most is not None else least is not None and value >= least
        target = f"at most {most:g}" if most is not None else f"at least {least:g}"
        measured = f"{value:.2f}{f' ({note})' if note else ''}"
        self.asked.append(
            (what, target, measured, "yes" if good else "not measured" if value != value else "NO")
        )
        self.results[f"asked: {what}"] = {"target": target, "measured": value, "holds": good}

    def print_asked(self) -> None:
        """Print the rows."""
        print("\n### What was asked for\n")
        print_table(("what", "target", "measured", "holds"), self.asked)
