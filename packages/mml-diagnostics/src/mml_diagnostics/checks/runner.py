"""Run checks: wait out those that ask for patience, and remember those that do not apply."""

from collections.abc import Callable
from typing import Any

from mml_diagnostics.finding import Problem


class NotApplicableError(Exception):
    """What a check needs is not there; the text says what is missing."""


class CheckRunner:
    """Runs checks inspection after inspection, and knows what they saw the last time."""

    def __init__(self) -> None:
        self._streaks: dict[str, dict[tuple[str, str], int]] = {}
        self._skipped: dict[str, str] = {}
        self._new: list[str] = []

    def run(self, name: str, check: Callable[..., list[Problem]], *args: Any) -> list[Problem]:
        """Call ``check(*args)`` and return the problems that it has seen ``patience`` times in a row.

        A check that raises :class:`NotApplicableError` is skipped.
        """
        try:
            problems = check(*args)
        except NotApplicableError as reason:
            self.skip(name, str(reason))
            return []
        before = self._streaks.get(name, {})
        now = {(p.check, p.where): before.get((p.check, p.where), 0) + 1 for p in problems}
        self._streaks[name] = now
        return [p for p in problems if now[p.check, p.where] >= p.patience]

    def skip(self, name: str, reason: str) -> None:
        """Remember that the check ``name`` does not apply; its first reason counts."""
        if name not in self._skipped:
            self._skipped[name] = reason
            self._new.append(name)

    def new_skips(self) -> list[Problem]:
        """Return what was skipped since the last call and never before, one problem per reason."""
        by_reason: dict[str, list[str]] = {}
        for name in self._new:
            by_reason.setdefault(self._skipped[name], []).append(name)
        self._new = []
        return [
            Problem(
                check="skipped_checks",
                severity="info",
                message=f"{', '.join(names)} skipped: {reason}.",
                advice="Nothing to do, unless you expected them to run.",
                where=reason,
            )
            for reason, names in by_reason.items()
        ]
