"""Apply transforms to a sample, and name the sample if a transform fails."""

from collections.abc import Callable, Iterable

from mml_samples import Sample

__all__ = ["Transform", "apply_transforms", "with_message"]

Transform = Callable[[Sample], Sample]
"""Callable from dict to dict that a data set applies to a sample when it is read."""


def apply_transforms(sample: Sample, transforms: Iterable[Transform]) -> Sample:
    """Apply `transforms` to a sample in order.

    Raises
    ------
    Exception
        If a transform fails. The exception has the type of the original one, and its message begins with the
        ``sample_id`` and the name of the transform. It is a RuntimeError if that type cannot be constructed
        from a message.
    TypeError
        If a transform does not return a dict.
    """
    for transform in transforms:
        sample_id = sample.get("sample_id", "a sample without sample_id")
        name = getattr(transform, "__name__", type(transform).__name__)
        try:
            sample = transform(sample)
        except Exception as error:
            if str(sample_id) in str(error):
                raise
            raise with_message(error, f"{sample_id}: {name}: {error}") from error
        if not isinstance(sample, dict):
            raise TypeError(f"{sample_id}: transform {name} must return a dict, got {type(sample).__name__}")
    return sample


def with_message(error: Exception, message: str) -> Exception:
    """Return an exception of the same type with another message, or a RuntimeError if that is impossible."""
    try:
        same = type(error)(message)
    except Exception:
        return RuntimeError(message)
    return same if message in str(same) else RuntimeError(message)
