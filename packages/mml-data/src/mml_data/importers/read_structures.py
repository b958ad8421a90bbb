"""Read structure files without importing them as a data set."""

from collections.abc import Iterator
from pathlib import Path

from mml_samples import Sample

from mml_data.importers.labels import LabelPlan
from mml_data.importers.structure import to_sample
from mml_data.importers.tree import open_source
from mml_data.store.records import encode_record

__all__ = ["read_structures"]

_NO_TARGETS = LabelPlan(())


def read_structures(path: str | Path) -> Iterator[tuple[str, Sample]]:
    """Yield the structures of a file or directory one by one, as an imported data set would return them.

    Parameters
    ----------
    path
        File or directory. See `mml_data.importers.tree.READABLE` for the supported formats.

    Yields
    ------
    tuple
        Position of the structure, ``file:number``, and the sample, a dict of tensors without ``targets``.

    Raises
    ------
    FileNotFoundError
        If `path` does not exist.
    ImportError
        If the library that reads the format is not installed.
    ValueError, TypeError
        If a structure cannot be read. The message names the structure.
    """
    from mml_data.store.tensors import read_tensors

    for part in open_source(path).parts(1):
        for place, item in part.read():
            if isinstance(item, Exception):
                raise ValueError(f"{place}: {item}") from item
            try:
                sample, _ = to_sample(item, _NO_TARGETS)
            except (TypeError, ValueError) as error:
                raise type(error)(f"{place}: {error}") from error
            yield place, read_tensors(encode_record(sample))
