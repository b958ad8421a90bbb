"""Read CSV files with a column of structures: the text of a CIF, or the JSON of pymatgen or JARVIS.

The column is ``structure``, ``atoms``, ``cif`` or another name of
`mml_data.importers.readers.any_structure.STRUCTURE_KEYS`, as in the CSV files of CDVAE (``mp_20``,
``perov_5``). The other columns are labels with their own names and units. Empty fields are missing.
"""

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from mml_data.importers.formats import Format
from mml_data.importers.readers.any_structure import STRUCTURE_KEYS
from mml_data.importers.readers.table_rows import convert_row
from mml_data.importers.source import Item

__all__ = ["FORMAT", "read_csv"]

_ROWS = 1000
_CONTENT = re.compile(rb'_cell_length_a|""?sites""?|lattice_mat')


def read_csv(path: Path) -> Iterator[Item]:
    """Yield the structures of the rows."""
    try:
        pandas = import_module("pandas")
    except ImportError as error:
        raise ImportError(
            f"reading {str(path)!r} requires pandas, which is not installed: pip install 'mml-data[parquet]'"
        ) from error
    count = 0
    try:
        with pandas.read_csv(path, chunksize=_ROWS, dtype=object, keep_default_na=False) as chunks:
            for chunk in chunks:
                names = [str(name) for name in chunk.columns]
                for values in chunk.itertuples(index=False, name=None):
                    count += 1
                    row = {name: _value(name, value) for name, value in zip(names, values, strict=True)}
                    row.pop("Unnamed: 0", None)
                    try:
                        item: Item = (f"{path}:row {count}", convert_row(row))
                    except (KeyError, TypeError, ValueError) as error:
                        item = (f"{path}:row {count}", ValueError(f"the row cannot be read: {error}"))
                    yield item
    except (ValueError, OSError) as error:  # errors of pandas' parser are ValueErrors
        yield f"{path}:row {count + 1}", ValueError(f"the file cannot be read: {error}")


def _value(name: str, text: str) -> Any:
    """Convert the text of a field to a number or a boolean if it is one, and an empty field to None."""
    if name in STRUCTURE_KEYS or not isinstance(text, str):
        return text
    if text.strip().lower() in ("", "nan", "na", "null", "none"):
        return None
    if text.strip().lower() in ("true", "false"):
        return text.strip().lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _matches(name: str, head: bytes) -> bool:
    header = head.removeprefix(b"\xef\xbb\xbf").partition(b"\n")[0]
    columns = {field.strip().strip(b'"').decode("utf-8", "replace") for field in header.split(b",")}
    return (
        name.endswith((".csv", ".txt"))
        and bool(columns & set(STRUCTURE_KEYS))
        and bool(_CONTENT.search(head))
    )


FORMAT = Format(
    name="CSV with structures",
    files="*.csv with a column structure, atoms or cif",
    labels="other columns with their own names and units; empty fields are missing",
    matches=_matches,
    read=read_csv,
    requires="parquet",
)
