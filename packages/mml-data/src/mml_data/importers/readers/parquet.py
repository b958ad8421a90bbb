"""Read parquet files of structures, one batch of rows after the other.

See `mml_data.importers.readers.table_rows` for the columns (OPTIMADE, LeMat, Alexandria, ColabFit, pandas).
"""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from mml_data.importers.formats import Format
from mml_data.importers.readers.table_rows import convert_row, has_structures
from mml_data.importers.source import Item

__all__ = ["FORMAT", "read_parquet"]

_BATCH = 1000


def read_parquet(path: Path) -> Iterator[Item]:
    """Yield the structures of the rows."""
    try:
        parquet = import_module("pyarrow.parquet")
    except ImportError as error:
        raise ImportError(
            f"reading {str(path)!r} requires pyarrow, which is not installed: pip install 'mml-data[parquet]'"
        ) from error
    count = 0
    try:
        # pre_buffer=True keeps what it has read until the file is closed
        with parquet.ParquetFile(path, pre_buffer=False) as file:
            columns = file.schema_arrow.names
            if not has_structures(columns):
                raise ValueError(f"no columns contain structures; the columns are {', '.join(columns)}")
            for batch in file.iter_batches(batch_size=_BATCH):
                for row in batch.to_pylist():
                    count += 1
                    try:
                        item: Item = (f"{path}:row {count}", convert_row(row))
                    except (KeyError, TypeError, ValueError) as error:
                        item = (f"{path}:row {count}", ValueError(f"the row cannot be read: {error}"))
                    yield item
    except (ValueError, OSError) as error:  # invalid data is a ValueError in pyarrow
        yield f"{path}:row {count + 1}", ValueError(f"the file cannot be read: {error}")


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
)
