"""Show this package's log messages on the console if logging is not configured."""

from __future__ import annotations

import logging
import sys

PACKAGE = "mml_diagnostics"


class _Console(logging.Handler):
    """Handler that writes to ``sys.stderr`` as it is at each record, so that redirects have an effect."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(name)s: %(message)s"))
        self.speakers: list[object] = []
        self.level_before = logging.NOTSET

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        try:
            sys.stderr.write(f"{self.format(record)}\n")
        except Exception:
            self.handleError(record)


_console = _Console()


def speak_on_console(speaker: object) -> None:
    """Enable this package's log messages from level INFO on, until :func:`leave_console`.

    If no handler is configured for them, they are written to standard error.

    Parameters
    ----------
    speaker
        Object that needs the messages. They stay enabled until the last such object has left.
    """
    if not _console.speakers:
        package = logging.getLogger(PACKAGE)
        _console.level_before = package.level
        if not package.hasHandlers():
            package.addHandler(_console)
        if package.getEffectiveLevel() > logging.INFO:
            package.setLevel(logging.INFO)
    if not any(other is speaker for other in _console.speakers):
        _console.speakers.append(speaker)


def leave_console(speaker: object) -> None:
    """Undo :func:`speak_on_console`. Without an earlier call for ``speaker``, nothing happens."""
    remaining = [other for other in _console.speakers if other is not speaker]
    if _console.speakers and not remaining:
        package = logging.getLogger(PACKAGE)
        package.removeHandler(_console)
        package.setLevel(_console.level_before)
    _console.speakers = remaining
