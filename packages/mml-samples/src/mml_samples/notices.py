"""Log warnings that are not repeated for every sample of an epoch."""

from __future__ import annotations

import logging
from collections import Counter

_seen: Counter[str] = Counter()


def warn_once(logger: logging.Logger, about: str, message: str) -> None:
    """Log a warning the first time in this process.

    Parameters
    ----------
    logger
        Logger of the warning.
    about
        Identifier of the notice. Calls with the same identifier count as the same notice.
    message
        Message of the warning.
    """
    _seen[about] += 1
    if _seen[about] == 1:
        logger.warning(message)


def warn_counted(logger: logging.Logger, about: str, message: str) -> None:
    """Log a warning the first time in this process, and again with the count at each power of ten.

    Parameters
    ----------
    logger
        Logger of the warning.
    about
        Name of the counted cases. It is part of the message.
    message
        Message about the current case.
    """
    _seen[about] += 1
    count = _seen[about]
    if str(count).strip("0") == "1":
        logger.warning("%s (%s so far: %d)", message, about, count)


def forget_notices() -> None:
    """Forget all warnings of this module, so that they are logged again. Meant for tests."""
    _seen.clear()
