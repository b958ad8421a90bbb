"""Results of the checks of a data set."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["SEVERITIES", "Finding", "Severity"]

Severity = Literal["error", "warning", "info", "ok"]

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info", "ok")
"""Severities, the most severe one first."""


@dataclass(frozen=True)
class Finding:
    """A property of a data set that the user should know, with its remedy.

    Attributes
    ----------
    check
        Name of the check, such as ``"net_force"``.
    severity
        ``"error"``: labels or structures are certainly wrong. ``"warning"``: they are probably wrong, or
        results of a training would be misleading. ``"info"``: good to know. ``"ok"``: a test with its result,
        which found nothing wrong.
    message
        Description with numbers.
    advice
        Remedy. Empty for ``"ok"``.
    frames
        Indices of the affected samples in the data set, ascending. Empty if the finding concerns all samples.
    numbers
        Measured values, JSON-serializable.
    """

    check: str
    severity: Severity
    message: str
    advice: str
    frames: tuple[int, ...] = ()
    numbers: Mapping[str, Any] = field(default_factory=dict)
