"""Read files of structures without making a data set of them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mml_data.convert.structure import to_sample
from mml_data.convert.targets import TargetKinds
from mml_data.convert.tree import open_source
from mml_data.records import encode_record
from mml_data.tensors import read_tensors

__all__ = ["read_structures"]

_NO_TARGETS = TargetKinds({}, others=True)


def read_structures(path: str | Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the structures of a file or directory, one by one, as a data set that was made of it gives them.

    Parameters
    ----------
    path
        See `mml_data.convert.tree.READABLE`.

    Yields
    ------
    tuple
        The place, ``file:number``, and the sample: a dict of tensors, without ``targets``.

    Raises
    ------
    FileNotFoundError
        Where there is nothing.
    ImportError
        Where a library is missing that reads it.
    ValueError, TypeError
        Where a structure cannot be read; the message names it.
    """
    for part in open_source(path, targets=()).parts(1):
        for place, item in part.read():
            if isinstance(item, Exception):
                raise ValueError(f"{place}: {item}") from item
            try:
                sample = to_sample(item, _NO_TARGETS)
            except (TypeError, ValueError) as error:
                raise type(error)(f"{place}: {error}") from error
            yield place, read_tensors(encode_record(sample))
