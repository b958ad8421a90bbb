"""Description of a file format and the function that reads it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mml_data.importers.source import Item, Part

__all__ = ["Format"]


@dataclass(frozen=True)
class Format:
    """File format that can be imported.

    Attributes
    ----------
    name
        Name of the format, in messages and in the manifest.
    files
        Usual file names, such as ``"*.xyz, *.extxyz"``.
    labels
        Labels of the format with their units, as a sentence for the table of formats.
    matches
        Function of the lower-case file name without compression suffixes and of the first 64 kB of the
        decompressed content. It returns whether a file has this format.
    read
        Function that yields the structures of a decompressed file, or of a folder that `folder` accepts.
    folder
        Function of a folder and the names of the files and folders in it. It returns the names of those that
        `read` reads together, or an empty set. None if the format has no folders.
    unread
        Function of a folder and the names that `folder` returned. It returns those of them that belong to the
        folder but contain nothing more, so that `read` passes over them. None if there are none.
    requires
        Extra of mml-data that installs the required library, such as ``"ase"``.
    parts
        Function that divides a decompressed file into at most the given number of parts.
    takes_elements
        Whether `read` accepts a second argument, the symbols of the elements of files without them.
    catches_warnings
        Whether Python's warnings during `read` are kept with the structures. Readers that call no other
        library can do without it, because it takes about 5 microseconds for each structure.
    """

    name: str
    files: str
    labels: str
    matches: Callable[[str, bytes], bool]
    read: Callable[..., Iterator[Item]]
    folder: Callable[[Path, frozenset[str]], frozenset[str]] | None = None
    unread: Callable[[Path, frozenset[str]], frozenset[str]] | None = None
    requires: str | None = None
    parts: Callable[[Path, int], list[Part]] | None = None
    takes_elements: bool = False
    catches_warnings: bool = True
