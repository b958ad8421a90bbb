"""Apply transforms to a sample, and say which sample it was when one fails."""

from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["Transform", "apply_transforms"]

Transform = Callable[[dict[str, Any]], dict[str, Any]]
"""What a data set applies to a sample when it is read."""


def apply_transforms(sample: dict[str, Any], transforms: Iterable[Transform]) -> dict[str, Any]:
    """Apply `transforms` in order.

    Raises
    ------
    Exception
        What a transform raised, of the same type, with the sample's ``sample_id`` and the transform in
        front of the message (RuntimeError, where an exception of that type cannot be made of a message).
    TypeError
        Where a transform returns something else than a dict.
    """
    for transform in transforms:
        sample_id = sample.get("sample_id", "a sample without sample_id")
        name = getattr(transform, "__name__", type(transform).__name__)
        try:
            sample = transform(sample)
        except Exception as error:
            if str(sample_id) in str(error):
                raise
            raise _like(error, f"{sample_id}: {name}: {error}") from error
        if not isinstance(sample, dict):
            raise TypeError(
                f"{sample_id}: {name} returned a {type(sample).__name__}, a transform returns a dict"
            )
    return sample


def _like(error: Exception, message: str) -> Exception:
    try:
        same = type(error)(message)
    except Exception:
        return RuntimeError(message)
    return same if message in str(same) else RuntimeError(message)
