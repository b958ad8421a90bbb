"""Check arguments of transforms, and name the sample in their errors."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator
from contextlib import contextmanager

from mml_samples import Sample, sample_name


@contextmanager
def naming(sample: Sample) -> Iterator[None]:
    """Prepend the name of the sample to the message of a ``ValueError``."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{sample_name(sample)}: {error}") from error


def finite(argument: str, value: object) -> float:
    """Check that an argument is a finite number, and return it as a float.

    Raises
    ------
    ValueError
        If the value is not a finite number. The message names the argument and the value.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
        raise ValueError(f"{argument} must be a finite number, got {value!r}")
    return float(value)


def positive(argument: str, value: object) -> float:
    """Check that an argument is a finite number above zero, and return it as a float.

    Raises
    ------
    ValueError
        If the value is not a finite number above zero. The message names the argument and the value.
    """
    number = finite(argument, value)
    if number <= 0:
        raise ValueError(f"{argument} must be a positive number, got {value!r}")
    return number


def key_name(argument: str, value: object) -> str:
    """Check that an argument is the name of a key, and return it.

    Raises
    ------
    ValueError
        If the value is not a string, or is empty.
    """
    if not isinstance(value, str) or not value:
        raise ValueError(f"{argument} must be the name of a key, got {value!r}")
    return value
