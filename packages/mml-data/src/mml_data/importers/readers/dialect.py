"""Description of a dialect of JSON: the meaning of the keys in the entries of one data set or tool."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mml_data.importers.source import Structure

__all__ = ["Dialect"]


@dataclass(frozen=True)
class Dialect:
    """Dialect of JSON.

    Attributes
    ----------
    name, files, labels
        As in `mml_data.importers.formats.Format`.
    hints
        Texts that all occur in the first 64 kB of a file of this dialect.
    owns
        Function of an entry. It returns whether the entry has this dialect.
    convert
        Function that converts an entry to a structure.
    """

    name: str
    files: str
    labels: str
    hints: tuple[bytes, ...]
    owns: Callable[[Mapping[str, Any]], bool]
    convert: Callable[[Mapping[str, Any]], Structure]
