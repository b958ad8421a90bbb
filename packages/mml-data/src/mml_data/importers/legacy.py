"""Read the LMDB files of pickles in which the older toolkit (Open MatSciML) stores data sets."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lmdb
import numpy as np

from mml_data.importers.legacy_readers import READERS, UNITS, find_reader
from mml_data.importers.pickles import fields, load_pickle
from mml_data.importers.source import Item, Part, balanced

__all__ = ["LegacyLMDB"]


class LegacyLMDB:
    """Source for the structures of one or several LMDB files of pickled records.

    Keys are integers as text. Records are read in ascending order of the integers, which may have gaps. Other
    keys (``length``) contain no structure. Pickles are not executed unless `trust_pickle` is True, see
    `mml_data.importers.pickles`.

    Parameters
    ----------
    files
        LMDB files, or directories with a ``data.mdb``.
    name
        Name of all files together, for the manifest.
    reader
        Name of the data set format, one of `mml_data.importers.legacy_readers.READERS`. Default: determined
        from the first record.
    targets
        Names of the targets to import. Default: the targets that the reader knows.
    trust_pickle
        Whether to execute the pickles, including any code in them.

    Raises
    ------
    ValueError
        If a file is not a readable LMDB file, if the files contain no records, if `reader` is unknown, or if
        the format cannot be determined from the first record.
    """

    units: Mapping[str, str] = UNITS

    def __init__(
        self,
        files: list[Path],
        name: str,
        reader: str | None = None,
        *,
        targets: Collection[str] | None = None,
        trust_pickle: bool = False,
    ) -> None:
        if reader is not None and reader not in READERS:
            raise ValueError(f"unknown reader {reader!r}; the readers are {', '.join(READERS)}")
        self.files = files
        self.name = name
        self.targets = None if targets is None else tuple(targets)
        self.trust_pickle = trust_pickle
        self._keys = [_numbers(file) for file in files]
        if not sum(keys.size for keys in self._keys):
            raise ValueError(f"no records were found in {', '.join(str(file) for file in files)}")
        self.reader = reader or self._find_reader()

    def describe(self) -> dict[str, object]:
        """Return the description of the source for the manifest."""
        return {"origin": self.name, "format": f"LMDB of pickles ({self.reader})", "files": len(self.files)}

    def parts(self, count: int) -> list[Part]:
        """Divide the records. A part may contain records of several files."""
        chunks = max(1, count // len(self.files))
        blocks = [
            _Records(file, keys[piece], self.reader, self.targets, self.trust_pickle)
            for file, keys in zip(self.files, self._keys, strict=True)
            for piece in balanced([1] * keys.size, chunks)
        ]
        return [
            _Several(tuple(blocks[piece])) for piece in balanced([block.keys.size for block in blocks], count)
        ]

    def _find_reader(self) -> str:
        for file, keys in zip(self.files, self._keys, strict=True):
            if keys.size:
                with _records(file) as records:
                    record = load_pickle(records(keys[0]), trust=self.trust_pickle)
                try:
                    return find_reader(fields(record))
                except ValueError as error:
                    raise ValueError(f"{file}:{keys[0]}: {error}") from error
        raise AssertionError  # the constructor has checked that there is a record


@dataclass(frozen=True)
class _Records:
    file: Path
    keys: np.ndarray
    reader: str
    targets: tuple[str, ...] | None
    trust_pickle: bool

    def read(self, start: int = 0) -> Iterator[Item]:
        with _records(self.file) as records:
            for key in self.keys[start:].tolist():
                yield f"{self.file}:{key}", self._structure(records(key))

    def _structure(self, data: bytes) -> Mapping[str, object] | Exception:
        try:
            record = fields(load_pickle(data, trust=self.trust_pickle))
            return READERS[self.reader].read(record, self.targets)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            if isinstance(error, KeyError):
                return ValueError(
                    f"the record lacks the key {error}, which the reader {self.reader} requires; fix the "
                    "record, or use another reader"
                )
            return error


@dataclass(frozen=True)
class _Several:
    blocks: tuple[_Records, ...]

    def read(self, start: int = 0) -> Iterator[Item]:
        for block in self.blocks:
            if start >= block.keys.size:
                start -= block.keys.size
                continue
            yield from block.read(start)
            start = 0


@contextmanager
def _records(file: Path) -> Iterator[Any]:
    """Open an LMDB file and return a function from key to record."""
    with _opened(file) as environment, environment.begin() as transaction:

        def get(key: int) -> bytes:
            record = transaction.get(str(key).encode())
            if record is None:
                raise ValueError(f"{file}: record {key} is missing")
            return record

        yield get


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    try:
        environment = lmdb.open(
            str(file), subdir=file.is_dir(), readonly=True, lock=False, readahead=False, create=False
        )
    except lmdb.Error as error:
        raise ValueError(f"{str(file)!r} is not a readable LMDB file: {error}") from error
    try:
        yield environment
    finally:
        environment.close()


def _numbers(file: Path) -> np.ndarray:
    """Return the keys that are numbers in ascending order, [n] int64."""
    with _opened(file) as environment, environment.begin() as transaction, transaction.cursor() as cursor:
        keys = [int(key) for key in cursor.iternext(keys=True, values=False) if key.isdigit()]
    return np.sort(np.array(keys, dtype=np.int64))
