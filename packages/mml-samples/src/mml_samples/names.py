"""Name a sample in messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def sample_name(sample: Mapping[str, object], index: int | None = None) -> str:
    """Return the name of a sample for a message.

    Parameters
    ----------
    sample
        A sample, or a batch.
    index
        Index of the sample in its batch, if known.

    Returns
    -------
    str
        ``sample 'md/000017'`` if the sample has a ``sample_id``. Otherwise ``sample 3 of the batch``, or
        ``the sample`` without an index.
    """
    name = sample.get("sample_id")
    if isinstance(name, Sequence) and not isinstance(name, str) and index is not None:
        name = name[index] if index < len(name) else None
    if name is not None:
        return f"sample {name!r}"
    return "the sample" if index is None else f"sample {index} of the batch"
