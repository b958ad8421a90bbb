"""Open a file, a folder or an archive as a source of structures."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from mml_data.importers.compressed import (
    decompressed_name,
    extracted,
    is_archive,
    read_head,
)
from mml_data.importers.file_part import FilePart, OriginPart
from mml_data.importers.files import file_checksum
from mml_data.importers.formats import Format
from mml_data.importers.legacy import LegacyLMDB
from mml_data.importers.legacy_readers import READERS
from mml_data.importers.registry import find_format, format_named, known_formats
from mml_data.importers.source import Item, Part, Source, balanced, existing
from mml_data.store.manifest import MANIFEST_FILE

__all__ = ["Tree", "open_source"]

_SHOWN = 5


def open_source(
    path: str | Path,
    *,
    reader: str | None = None,
    elements: Sequence[str] | None = None,
    trust_pickle: bool = False,
) -> Source:
    """Open a file, a folder or an archive as a source of structures.

    Parameters
    ----------
    path
        File, folder or archive. See `mml_data.importers.registry` for the formats.
    reader
        Name of the format. Default: determined from the names and contents of the files. For LMDB files of
        the older toolkit, the name of a data set, such as ``"materials_project"``.
    elements
        Symbols of the elements, for files of a format that can lack them, such as the POSCAR of VASP 4.
    trust_pickle
        Whether to execute the pickles in the older toolkit's LMDB files, including any code in them.

    Returns
    -------
    Source
        Source that reads the structures.

    Raises
    ------
    FileNotFoundError
        If `path` does not exist, for example because it is a URL.
    ValueError
        If `path` is a data set, if `reader` is unknown, or if no file has a known format.
    ImportError
        If the library that reads the format is not installed.
    """
    path = existing(path)
    if path.is_dir() and (path / MANIFEST_FILE).exists():
        raise ValueError(f"{str(path)!r} is already a data set; use it without an import")
    forced = None if reader is None else format_named(reader)
    if reader is not None and forced is None and reader not in READERS:
        names = [*(each.name for each in known_formats()), *READERS]
        near = get_close_matches(reader, names, 1)
        raise ValueError(
            f"unknown reader {reader!r}{f' (did you mean {near[0]!r}?)' if near else ''}; the readers are "
            f"{', '.join(names)}"
        )
    if forced is None and (reader is not None or path.suffix == ".lmdb" or _lmdb_files(path)):
        return LegacyLMDB(_lmdb_files(path) or [path], path.name, reader, trust_pickle=trust_pickle)
    return Tree(path, forced, elements)


class Entry(NamedTuple):
    """File or folder that a format reads, with its number of bytes."""

    path: Path
    format: Format
    size: int


class Tree:
    """Source for the structures of a file, of the files in a folder (in the order of their names), or both.

    Parameters
    ----------
    root
        File, folder or archive.
    forced
        Format of all files. Default: determined from their names and contents.
    elements
        Symbols of the elements, for files that lack them.

    Raises
    ------
    ValueError
        If no file has a known format, or if no format of the files accepts `elements`.
    """

    units: Mapping[str, str] = {}

    def __init__(
        self, root: Path, forced: Format | None = None, elements: Sequence[str] | None = None
    ) -> None:
        self.root = root
        self.elements = None if elements is None else tuple(elements)
        self.passed_over: list[dict[str, str]] = []
        self.archives: list[Path] = []
        self._archived: list[str] = []  # formats of the files in archives
        self._forced = forced
        self.entries = list(self._folder(root) if root.is_dir() else self._files([root]))
        if not self.entries and not self.archives:
            raise ValueError(self._nothing())
        takes = [entry.format.name for entry in self.entries if entry.format.takes_elements]
        if elements is not None and not (takes or self.archives):
            raise ValueError(
                f"elements {list(elements)} are given, but no file of {str(root)!r} has a format without "
                "them; remove elements (--elements)"
            )

    def describe(self) -> dict[str, object]:
        """Return the description of the source for the manifest."""
        found = [entry.format.name for entry in self.entries] + self._archived
        formats = list(dict.fromkeys(found))
        described: dict[str, object] = {"origin": self.root.name, "format": ", ".join(formats)}
        described["files"] = len(self.entries) + len(self.archives)
        if self.root.is_file():
            described["sha256"] = file_checksum(self.root)
        return described | ({"passed_over": self.passed_over} if self.passed_over else {})

    def parts(self, count: int) -> list[Part]:
        """Divide the files so that all parts have about the same number of bytes, or a large file."""
        if len(self.entries) == 1 and not self.archives:
            path, reader, _ = self.entries[0]
            if reader.parts is not None and decompressed_name(path.name) == path.name:
                return [OriginPart(part, self._name(path)) for part in reader.parts(path, count)]
        parts: list[Part] = [
            FilePart(path, self._name(path), reader.name, self.elements) for path, reader, _ in self.entries
        ]
        parts += [
            _ArchivePart(
                path, self._name(path), None if self._forced is None else self._forced.name, self.elements
            )
            for path in self.archives
        ]
        sizes = [size for _, _, size in self.entries] + [path.stat().st_size for path in self.archives]
        return [_Several(tuple(parts[piece])) for piece in balanced(sizes, count)]

    def _name(self, path: Path) -> str:
        return path.name if path == self.root else path.relative_to(self.root).as_posix()

    def _folder(self, folder: Path) -> Iterator[Entry]:
        children = sorted(child for child in folder.iterdir() if not child.name.startswith("."))
        names = frozenset(child.name for child in children)
        for reader in known_formats():
            if reader.folder is None or (self._forced is not None and reader is not self._forced):
                continue
            read = reader.folder(folder, names)
            if read:
                yield Entry(folder, reader, sum(_size(child) for child in children if child.name in read))
                for name in sorted(reader.unread(folder, read)) if reader.unread is not None else ():
                    self._pass_over(folder / name, f"another file of this {reader.name} is read")
                names -= read
        rest = [child for child in children if child.name in names]
        yield from self._files([child for child in rest if child.is_file()])
        for child in rest:
            if child.is_dir():
                yield from self._folder(child)

    def _files(self, files: Sequence[Path]) -> Iterator[Entry]:
        for file in files:
            if is_archive(file):
                self._archive(file)
                continue
            try:
                head = read_head(file)
            except (OSError, EOFError) as error:
                if file == self.root:
                    raise ValueError(f"{str(file)!r} cannot be read: {error}") from error
                self._pass_over(file, f"cannot be read: {error}")
                continue
            name = decompressed_name(file.name)
            reader = self._forced or find_format(name, head)
            if reader is None:
                self._pass_over(file, "is empty" if not head.strip() else "has no supported format")
            else:
                yield Entry(file, reader, file.stat().st_size)

    def _archive(self, file: Path) -> None:
        """Add an archive, with the formats in it and the files in it that are passed over."""
        try:
            with extracted(file) as folder:
                inner = Tree(folder, self._forced)
        except OSError as error:
            reason = str(error)
        except ValueError as error:  # from Tree
            reason = str(error).removeprefix(f"{str(folder)!r} ")
        else:
            self.archives.append(file)
            self._archived += [entry.format.name for entry in inner.entries] + inner._archived
            self.passed_over += [
                {**each, "file": f"{self._name(file)}/{each['file']}"} for each in inner.passed_over
            ]
            return
        if file == self.root:
            raise ValueError(f"{str(file)!r} {reason}")
        self._pass_over(file, reason.partition("; supported")[0])

    def _pass_over(self, file: Path, reason: str) -> None:
        self.passed_over.append({"file": self._name(file), "reason": reason})

    def _nothing(self) -> str:
        formats = ", ".join(each.name for each in known_formats())
        if self.root.is_file():
            return (
                f"{str(self.root)!r} {self.passed_over[0]['reason']}; supported are {formats} "
                "(see `matsciml data formats`)"
            )
        shown = ", ".join(f"{each['file']} {each['reason']}" for each in self.passed_over[:_SHOWN])
        more = len(self.passed_over) - _SHOWN
        content = shown + (f" and {more:,} more" if more > 0 else "") or "no files"
        return (
            f"{str(self.root)!r} contains no file that can be imported: {content}; supported are {formats} "
            "(see `matsciml data formats`)"
        )


@dataclass(frozen=True)
class _Several:
    """Parts that are read one after the other."""

    parts: tuple[Part, ...]

    def read(self, start: int = 0) -> Iterator[Item]:
        items = chain.from_iterable(part.read() for part in self.parts)
        for number, item in enumerate(items):
            if number >= start:
                yield item


@dataclass(frozen=True)
class _ArchivePart:
    """Structures of the files in an archive, which is extracted to a temporary folder."""

    path: Path
    source: str
    reader: str | None
    elements: tuple[str, ...] | None

    def read(self, start: int = 0) -> Iterator[Item]:
        with extracted(self.path) as folder:
            forced = None if self.reader is None else format_named(self.reader)
            tree = Tree(folder, forced)
            if self.elements is not None:
                tree.elements = self.elements
            (part,) = tree.parts(1)
            for place, item in part.read(start):
                shown = place.replace(str(folder), str(self.path), 1)
                if not isinstance(item, Exception):
                    extra = dict(item["extra"])  # type: ignore[call-overload]
                    item = {**item, "extra": {**extra, "source": f"{self.source}/{extra['source']}"}}
                yield shown, item


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _lmdb_files(path: Path) -> list[Path]:
    """Return the LMDB files of the older toolkit at `path`: files, or directories with a ``data.mdb``."""
    if not path.is_dir():
        return [path] if path.suffix == ".lmdb" else []
    if (path / "data.mdb").exists():
        return [path]
    return sorted(file for file in path.iterdir() if file.suffix == ".lmdb")
