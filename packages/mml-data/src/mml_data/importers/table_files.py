"""Read a table of labels from a file: CSV, TSV, JSON or parquet."""

import csv
import gzip
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from mml_data.importers.source import existing

__all__ = ["ID_COLUMNS", "Table", "read_table"]

ID_COLUMNS = (
    *("id", "name", "file", "filename", "file_name", "cif_id", "structure_id", "sample_id"),
    *("material_id", "mp_id", "mpid", "mat_id", "jid", "task_id", "identifier"),
)
"""Usual names of the column with file names or ids, in lower case."""

_MISSING = ("", "nan", "na", "n/a", "null", "none", "-")
_BOOLEANS = {"true": True, "false": False}
_READABLE = "CSV (.csv, .txt), TSV (.tsv), JSON (.json, .jsonl) and parquet (.parquet)"


@dataclass(frozen=True)
class Table:
    """Table as read from a file.

    Attributes
    ----------
    columns
        Names of the columns. The columns of a file without a header are ``id`` and ``target``, or ``id``,
        ``target_1``, ``target_2`` and so on.
    rows
        Place for messages (``file:line``) and the values of each row. A missing value is None.
    """

    columns: tuple[str, ...]
    rows: list[tuple[str, tuple[Any, ...]]]


def read_table(path: str | Path, id_column: str | None = None) -> Table:
    """Read a table. A text file may be compressed by gzip.

    Parameters
    ----------
    path
        Path of the file. JSON contains a list of objects, an object of columns (the output of pandas), or an
        object that maps an id to a value or to an object.
    id_column
        Name of a column. If the first line of a text file contains it, the line is the header.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If the file is not a table.
    ImportError
        If pyarrow is not installed and the file is in the parquet format.
    """
    path = existing(path)
    name = path.name.lower().removesuffix(".gz")
    if name.endswith(".parquet"):
        return _read_parquet(path)
    if not name.endswith((".csv", ".txt", ".tsv", ".json", ".jsonl")):
        raise ValueError(f"table {str(path)!r} has no supported format; supported are {_READABLE}")
    content = path.read_bytes()
    try:
        text = (gzip.decompress(content) if path.name.lower().endswith(".gz") else content).decode(
            "utf-8-sig"
        )
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ValueError(f"table {str(path)!r} cannot be read: {error}") from error
    if not text.strip():
        raise ValueError(f"table {str(path)!r} is empty")
    if name.endswith((".json", ".jsonl")):
        return _read_json(path, text)
    return _read_text(path, text, "\t" if name.endswith(".tsv") else None, id_column)


def _read_text(path: Path, text: str, delimiter: str | None, id_column: str | None) -> Table:
    first = text.lstrip().splitlines()[0]
    if delimiter is None:
        delimiter = max((",", ";", "\t"), key=first.count)
    reader = csv.reader(text.splitlines(), delimiter=delimiter, skipinitialspace=True)
    lines = [(f"{path}:{reader.line_num}", [cell.strip() for cell in row]) for row in reader if any(row)]
    width = len(lines[0][1])
    if width < 2:
        raise ValueError(
            f"{lines[0][0]}: a table must have a column of ids and a column of labels, separated by commas, "
            f"semicolons or tabs, got {first!r}"
        )
    for place, row in lines:
        if len(row) != width:
            raise ValueError(f"{place}: the line has {len(row)} cells, but the first line has {width}")
    header = lines[0][1]
    if _is_header(header, [row for _, row in lines[1:]], id_column):
        lines = lines[1:]
        columns = tuple(header)
    elif width == 2:
        columns = ("id", "target")
    else:
        columns = ("id", *(f"target_{number}" for number in range(1, width)))
    values = [_values([row[number] for _, row in lines]) for number in range(1, width)]
    # Ids stay text, because 0012 and 12 are different names of files.
    cells = zip([row[0] or None for _, row in lines], *values, strict=True)
    return _checked(path, columns, [(place, row) for (place, _), row in zip(lines, cells, strict=True)])


def _is_header(first: Sequence[str], others: Sequence[Sequence[str]], id_column: str | None) -> bool:
    """Return whether the first line names the columns: it has no number, unlike the lines below it."""
    if id_column in first:
        return True
    if any(_number(cell) is not None for cell in first[1:]) or not all(first):
        return False
    numbers = any(_number(cell) is not None for row in others for cell in row[1:])
    return numbers or any(cell.lower() in ID_COLUMNS for cell in first)


def _values(cells: Sequence[str]) -> list[Any]:
    """Convert the cells of a column to numbers, booleans or text, whichever all cells are."""
    known = [None if cell.lower() in _MISSING else cell for cell in cells]
    texts = [cell for cell in known if cell is not None]
    if all(cell.lower() in _BOOLEANS for cell in texts):
        return [None if cell is None else _BOOLEANS[cell.lower()] for cell in known]
    if all(_number(cell) is not None for cell in texts):
        return [None if cell is None else _number(cell) for cell in known]
    return known


def _number(cell: str) -> int | float | None:
    try:
        return int(cell)
    except ValueError:
        pass
    try:
        return float(cell)
    except ValueError:
        return None


def _read_json(path: Path, text: str) -> Table:
    try:
        content = (
            [json.loads(line) for line in text.splitlines() if line.strip()]
            if path.name.lower().removesuffix(".gz").endswith(".jsonl")
            else json.loads(text)
        )
    except ValueError as error:
        raise ValueError(f"table {str(path)!r} is not valid JSON: {error}") from error
    if isinstance(content, Mapping) and {"columns", "data"} <= content.keys():  # pandas, orient="split"
        content = [dict(zip(content["columns"], row, strict=True)) for row in content["data"]]
    elif isinstance(content, Mapping) and content:
        if all(isinstance(value, Mapping) for value in content.values()):
            content = _rows_of_objects(content)
        else:
            content = [{"id": name, "target": value} for name, value in content.items()]
    if not isinstance(content, list) or not all(isinstance(row, Mapping) for row in content) or not content:
        raise ValueError(
            f"table {str(path)!r} must contain a list of objects, an object of columns, or an object from id "
            "to value"
        )
    columns = tuple(dict.fromkeys(str(name) for row in content for name in row))
    rows = [
        (f"{path}: row {number}", tuple(_plain(row.get(name)) for name in columns))
        for number, row in enumerate(content, 1)
    ]
    return _checked(path, columns, rows)


def _rows_of_objects(content: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of an object of columns (keys of all values are equal), or of an object of rows."""
    keys = [list(value) for value in content.values()]
    if len(keys) > 1 and all(each == keys[0] for each in keys) and all(key.isdigit() for key in keys[0]):
        return [{name: column[key] for name, column in content.items()} for key in keys[0]]
    return [{"id": name, **row} for name, row in content.items()]


def _read_parquet(path: Path) -> Table:
    try:
        parquet = import_module("pyarrow.parquet")
    except ImportError as error:
        raise ImportError(
            "reading a parquet table requires pyarrow; install it with `pip install 'mml-data[parquet]'`"
        ) from error
    try:
        columns = parquet.read_table(path).to_pydict()
    except (OSError, ValueError) as error:
        raise ValueError(f"table {str(path)!r} cannot be read: {error}") from error
    rows = [
        (f"{path}: row {number}", tuple(map(_plain, row)))
        for number, row in enumerate(zip(*columns.values(), strict=True), 1)
    ]
    return _checked(path, tuple(columns), rows)


def _plain(value: Any) -> Any:
    """Return the value of a cell, and None for a missing one."""
    if isinstance(value, float) and math.isnan(value):
        return None
    return None if isinstance(value, str) and value.strip().lower() in _MISSING else value


def _checked(path: Path, columns: tuple[str, ...], rows: list[tuple[str, tuple[Any, ...]]]) -> Table:
    if twice := sorted({name for name in columns if columns.count(name) > 1}):
        raise ValueError(f"table {str(path)!r} has several columns with the name {twice[0]!r}")
    if not rows:
        raise ValueError(f"table {str(path)!r} has no rows")
    if len(columns) < 2:
        raise ValueError(
            f"table {str(path)!r} must have a column of ids and a column of labels, got only {columns[0]!r}"
        )
    return Table(columns, rows)
