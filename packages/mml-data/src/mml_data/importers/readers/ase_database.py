"""Read ASE databases: SQLite (``.db``) and LMDB (``.aselmdb``), such as OMat24 and OMol25.

Results, key-value pairs, and the items of ``data`` and ``info`` are labels. OMol25 has ``charge`` and
``spin`` (multiplicity) in ``data``, see https://huggingface.co/facebook/OMol25.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mml_data.importers.formats import Format
from mml_data.importers.readers.ase_atoms import from_atoms, require_ase
from mml_data.importers.source import Item, Part, balanced

__all__ = ["FORMAT", "read_database"]


def read_database(path: Path) -> Iterator[Item]:
    """Yield the rows of a database.

    Raises
    ------
    ImportError
        If a required library is not installed.
    """
    for part in _parts(path, 1):
        yield from part.read()


def _parts(path: Path, count: int) -> list[Part]:
    """Divide the rows evenly."""
    require_ase(path)
    if path.suffix == ".aselmdb" and find_spec("ase_db_backends") is None:
        raise ImportError(
            f"reading {str(path)!r} requires ase-db-backends, which is not installed: pip install "
            "'mml-data[aselmdb]'"
        )
    with _connected(path) as database:
        ids = list(getattr(database, "ids", None) or [row.id for row in database.select()])
    pieces = balanced([1] * len(ids), count)
    return [_Rows(path, tuple(ids[piece]), piece.start) for piece in pieces]


@dataclass(frozen=True)
class _Rows:
    path: Path
    ids: tuple[int, ...]
    first: int

    def read(self, start: int = 0) -> Iterator[Item]:
        with _connected(self.path) as database:
            for frame, number in enumerate(self.ids[start:], self.first + start):
                place = f"{self.path}:row {number}"
                try:
                    row = database.get(number)
                    structure = from_atoms(row.toatoms())
                except Exception as error:
                    text = str(error) or type(error).__name__
                    yield (
                        place,
                        ValueError(f"ASE cannot read this structure: {type(error).__name__}: {text}"),
                    )
                    continue
                more: dict[str, Any] = {**(row.data or {}), **row.key_value_pairs}
                labels = {name: value for name, value in more.items() if not isinstance(value, Mapping)}
                extra = {name: value for name, value in more.items() if isinstance(value, Mapping)}
                structure["labels"] |= labels
                yield place, structure | {"extra": {"frame": frame, **extra}}


@contextmanager
def _connected(path: Path) -> Iterator[Any]:
    """Open a database read-only, and close it on exit."""
    from ase.db import connect

    options = {"type": "aselmdb", "readonly": True} if path.suffix == ".aselmdb" else {}
    database = connect(str(path), use_lock_file=False, **options)
    try:
        yield database
    finally:
        if hasattr(database, "close"):
            database.close()


FORMAT = Format(
    name="ASE database",
    files="*.db, *.aselmdb (OMat24, OMol25)",
    labels="results (eV, angstrom), key-value pairs, items of data and info",
    matches=lambda name, head: (
        name.endswith(".aselmdb") or (name.endswith(".db") and head.startswith(b"SQLite format 3"))
    ),
    read=read_database,
    parts=_parts,
    requires="aselmdb",
)
