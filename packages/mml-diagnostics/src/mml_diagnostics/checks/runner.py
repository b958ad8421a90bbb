"""Run checks, count consecutive detections for checks with ``patience``, and record skipped checks."""

from collections.abc import Callable

from mml_diagnostics.finding import Problem


class NotApplicableError(Exception):
    """Raised by a check that does not apply. The text names the missing part of the batch or the module."""


class CheckRunner:
    """Run checks at each inspection, and remember the problems of the previous inspection."""

    def __init__(self) -> None:
        self._streaks: dict[str, dict[tuple[str, str], int]] = {}
        self._skipped: dict[str, str] = {}
        self._new: list[str] = []

    def run(self, name: str, check: Callable[..., list[Problem]], *args: object) -> list[Problem]:
        """Call ``check(*args)`` and return the problems detected ``patience`` times in a row.

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
        """Record that the check ``name`` does not apply. Only the first reason is kept."""
        if name not in self._skipped:
            self._skipped[name] = reason
            self._new.append(name)

    def new_skips(self) -> list[Problem]:
        """Return the checks that were first skipped since the last call, as one problem per reason."""
        by_reason: dict[str, list[str]] = {}
        for name in self._new:
            by_reason.setdefault(self._skipped[name], []).append(name)
        self._new = []
        return [
            Problem(
                check="skipped_checks",
                severity="info",
                message=f"{', '.join(names)} skipped, because {reason}.",
                advice="No action is needed, unless you expected them to run.",
                where=reason,
            )
            for reason, names in by_reason.items()
        ]
