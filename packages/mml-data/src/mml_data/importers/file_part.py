"""Read one file or folder in its format, with the origin of every structure."""

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from mml_data.importers.compressed import decompressed
from mml_data.importers.registry import format_named
from mml_data.importers.source import Item, Part

__all__ = ["FilePart", "OriginPart"]


@dataclass(frozen=True)
class FilePart:
    """Structures of one file, or of one folder that is read as a whole.

    Attributes
    ----------
    path
        Path of the file or folder.
    source
        Path relative to the root of the source, for ``extra.source``.
    format
        Name of the format.
    elements
        Symbols of the elements, for formats whose files can lack them.
    """

    path: Path
    source: str
    format: str
    elements: tuple[str, ...] | None = None

    def read(self, start: int = 0) -> Iterator[Item]:
        """Yield the items from number `start` on. An error of the whole file is an item."""
        reader = format_named(self.format)
        if reader is None:
            raise ValueError(
                f"the format {self.format!r} of {str(self.path)!r} is unknown in this process; install the "
                "package that reads it"
            )
        options = (self.elements,) if reader.takes_elements and self.elements is not None else ()
        count = 0
        try:
            with decompressed(self.path) as path:
                items = reader.read(path, *options)
                if reader.catches_warnings:
                    items = _with_warnings(items)
                for place, item in _with_origin(items, self.source):
                    count += 1
                    if count > start:
                        shown = place if path is self.path else place.replace(str(path), str(self.path), 1)
                        yield shown, item
        except ImportError:
            raise
        except Exception as error:
            yield str(self.path), ValueError(f"the file cannot be read: {_text(error)}")
            count += 1
        if not count:
            yield str(self.path), ValueError("the file contains no structures")


def _with_origin(items: Iterator[Item], source: str) -> Iterator[Item]:
    """Yield the items with ``extra.source`` and ``extra.frame``, unless the reader has set them."""
    for frame, (place, item) in enumerate(items):
        if not isinstance(item, Exception):
            structure = cast("dict[str, Any]", item)
            extra = structure.get("extra")
            if extra is None:
                structure["extra"] = {"source": source, "frame": frame}
            elif isinstance(extra, Mapping):
                structure["extra"] = {"source": source, "frame": frame, **extra}
        yield place, item


def _with_warnings(items: Iterator[Item]) -> Iterator[Item]:
    """Yield the items, with Python's warnings during their reading under ``warnings``."""
    while True:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                place, item = next(items)
            except StopIteration:
                return
        texts = [str(each.message) for each in caught if not issubclass(each.category, ResourceWarning)]
        if texts and not isinstance(item, Exception):
            item = {**item, "warnings": [*cast("dict[str, Any]", item).get("warnings", ()), *texts]}
        yield place, item


def _text(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return text if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: {text}"


@dataclass(frozen=True)
class OriginPart:
    """Part of a divided file, whose reader sets ``extra.frame``."""

    part: Part
    source: str

    def read(self, start: int = 0) -> Iterator[Item]:
        """Yield the items from number `start` on."""
        return _with_origin(self.part.read(start), self.source)
