"""Log lines that do not repeat themselves for every sample of an epoch."""

from __future__ import annotations

import logging
from collections import Counter

_seen: Counter[str] = Counter()


def once(logger: logging.Logger, about: str, message: str) -> None:
    """Warn the first time in this process.

    Parameters
    ----------
    logger
        Where to.
    about
        What is counted as the same notice.
    message
        The line.
    """
    _seen[about] += 1
    if _seen[about] == 1:
        logger.warning(message)


def counted(logger: logging.Logger, about: str, message: str) -> None:
    """Warn the first time in this process, and with the count at each tenth power after that.

    Parameters
    ----------
    logger
        Where to.
    about
        What is counted; it is named in the line.
    message
        What was found this time.
    """
    _seen[about] += 1
    count = _seen[about]
    if str(count).strip("0") == "1":
        logger.warning("%s (%s so far: %d)", message, about, count)
