"""Errors of the transforms: which sample, and arguments that cannot be."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mml_graphs.sample import sample_name


@contextmanager
def naming(sample: Mapping[str, Any]) -> Iterator[None]:
    """Put the name of the sample before the message of a ``ValueError``."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{sample_name(sample)}: {error}") from error


def finite(argument: str, value: object) -> float:
    """Check that an argument is a finite number.

    Raises
    ------
    ValueError
        If it is not; the message names argument and value.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
        raise ValueError(f"{argument} is {value!r}, expected a finite number")
    return float(value)


def positive(argument: str, value: object) -> float:
    """Check that an argument is a finite number above zero.

    Raises
    ------
    ValueError
        If it is not; the message names argument and value.
    """
    number = finite(argument, value)
    if number <= 0:
        raise ValueError(f"{argument} is {value!r}, expected a number above zero")
    return number


def key_name(argument: str, value: object) -> str:
    """Check that an argument names a key.

    Raises
    ------
    ValueError
        If it is no string, or an empty one.
    """
    if not isinstance(value, str) or not value:
        raise ValueError(f"{argument} is {value!r}, expected the name of a key")
    return value
