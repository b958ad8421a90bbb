"""Read parquet files of structures, one batch of rows after the other.

See `mml_data.importers.readers.table_rows` for the columns (OPTIMADE, LeMat, Alexandria, ColabFit, pandas).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from mml_data.importers.formats import Format
from mml_data.importers.readers.table_rows import convert_row, has_structures
from mml_data.importers.source import Item, Part, balanced

__all__ = ["FORMAT", "read_parquet"]

_BATCH = 1000


def read_parquet(path: Path) -> Iterator[Item]:
    """Yield the structures of the rows."""
    return _RowGroups(path, None, 0).read()


def _parts(path: Path, count: int) -> list[Part]:
    """Divide a file at the ends of its row groups."""
    try:
        with _library(path).ParquetFile(path) as file:
            sizes = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
    except (ValueError, OSError):
        return [_RowGroups(path, None, 0)]  # which yields the error
    return [
        _RowGroups(path, tuple(range(len(sizes))[piece]), sum(sizes[: piece.start]))
        for piece in balanced(sizes, count)
    ] or [_RowGroups(path, None, 0)]


@dataclass(frozen=True)
class _RowGroups:
    """Row groups of a file (None is all), and the number of rows before them."""

    path: Path
    groups: tuple[int, ...] | None
    first: int

    def read(self, start: int = 0) -> Iterator[Item]:
        library = _library(self.path)
        frame = self.first
        try:
            # pre_buffer=True keeps all data in memory until the file is closed
            with library.ParquetFile(self.path, pre_buffer=False) as file:
                columns = file.schema_arrow.names
                if not has_structures(columns):
                    raise ValueError(f"no columns contain structures; the columns are {', '.join(columns)}")
                for batch in file.iter_batches(batch_size=_BATCH, row_groups=self.groups):
                    skipped = min(max(self.first + start - frame, 0), batch.num_rows)
                    frame += skipped
                    for row in batch.slice(skipped).to_pylist():
                        yield f"{self.path}:row {frame + 1}", _converted(row, frame)
                        frame += 1
        except (ValueError, OSError) as error:  # invalid data is a ValueError in pyarrow
            yield f"{self.path}:row {frame + 1}", ValueError(f"the file cannot be read: {error}")


def _converted(row: dict[str, Any], frame: int) -> dict[str, Any] | Exception:
    try:
        structure = convert_row(row)
    except (KeyError, TypeError, ValueError) as error:
        return ValueError(f"the row cannot be read: {error}")
    structure["extra"]["frame"] = frame
    return structure


def _library(path: Path) -> Any:
    try:
        return import_module("pyarrow.parquet")
    except ImportError as error:
        raise ImportError(
            f"reading {str(path)!r} requires pyarrow, which is not installed: pip install 'mml-data[parquet]'"
        ) from error


FORMAT = Format(
    name="parquet",
    files="*.parquet of OPTIMADE, LeMat, Alexandria, ColabFit and pandas",
    labels=(
        "columns with their own names and units; energy (eV) and forces (eV/angstrom) of LeMat and ColabFit; "
        "stress_tensor of LeMat (kilobar) and cauchy_stress of ColabFit are not converted"
    ),
    matches=lambda name, head: head.startswith(b"PAR1"),
    read=read_parquet,
    requires="parquet",
    parts=_parts,
)
