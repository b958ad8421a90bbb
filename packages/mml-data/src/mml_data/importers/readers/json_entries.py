"""Find the structures in a JSON file: lists, dicts, nested dicts, tables of pandas, and JSON lines.

The file is parsed incrementally. Only pandas' table by columns (``orient="columns"``) is read as a whole,
because the values of one row are far apart in it.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mml_data.importers.readers.any_structure import STRUCTURE_KEYS, is_structure
from mml_data.importers.readers.json_stream import JSONStream, Keys

__all__ = ["json_entries", "structure_key"]

Entry = Mapping[str, Any]

_LISTS = ("data", "entries", "structures")

_ABOUT = ("columns", "index", "schema", "data", "meta", "links", "included", "jsonapi")
"""Keys beside the entries of pandas' tables and of OPTIMADE's responses that are not entries."""


def json_entries(path: Path) -> Iterator[tuple[str, Entry | Exception]]:
    """Yield the entries of a JSON file with their names.

    An entry is an object with a structure and further values, or a structure. Its name is its key in the file
    (``mp-1`` or ``mp-1:frame-2``), or its number (``entry 3``, from 1). If the file is damaged, the entries
    before the damage are followed by the error.
    """
    with JSONStream(path) as stream:
        count = 0
        try:
            while first := stream.peek():
                found = _array(stream) if first == "[" else _object(stream) if first == "{" else None
                if found is None:
                    raise ValueError(f"expected an object or an array, got {first!r}")
                for name, entry in found:
                    count += 1
                    yield name or f"entry {count}", entry
        except (ValueError, RecursionError) as error:
            yield f"entry {count + 1}", error


def structure_key(entry: Entry) -> str | None:
    """Return the first key of an entry that contains a structure, or None."""
    return next((key for key in STRUCTURE_KEYS if is_structure(entry.get(key))), None)


def _is_entry(value: object) -> bool:
    return isinstance(value, Mapping) and (
        is_structure(value)
        or structure_key(value) is not None
        or isinstance(value.get("attributes"), Mapping)
    )


def _checked(value: object) -> Entry | Exception:
    if isinstance(value, Exception) or _is_entry(value):
        return value  # type: ignore[return-value]
    keys = f"the keys {', '.join(value) or '(none)'}" if isinstance(value, Mapping) else type(value).__name__
    return ValueError(f"an entry must have 'sites' or a 'structure', got {keys}")


def _array(stream: JSONStream) -> Iterator[tuple[str, Entry | Exception]]:
    for _, value in stream.members():
        yield "", _checked(value)


def _object(stream: JSONStream) -> Iterator[tuple[str, Entry | Exception]]:
    """Yield the entries of an object, whose meaning is known as soon as a member contains a structure."""
    held: dict[str, Any] = {}

    def enter(keys: Keys, first: str) -> bool:
        return (
            first == "[" and len(keys) == 1 and keys[0] in _LISTS and (keys[0] != "data" or "columns" in held)
        )

    form = ""
    for keys, value in stream.members(enter):
        key = str(keys[0])
        if len(keys) == 2:  # a member of a list of entries or rows
            form = "list"
            yield "", _checked(_row(held["columns"], value) if key == "data" else value)
            continue
        form = form or _form(key, value)
        if form == "entries" and not key.startswith("@"):
            yield from _named(key, value)
        else:
            held[key] = value
    if form in ("entries", "list"):
        others = [key for key in held if key not in _ABOUT and not key.startswith("@")]
        yield from ((key, _checked(held[key])) for key in others)
    elif form == "columns":
        yield from _rows_of_columns(held)
    elif "columns" in held and isinstance(held.get("data"), list):
        yield from (("", _checked(_row(held["columns"], row))) for row in held["data"])
    elif isinstance(held.get("data"), list) and any(_is_entry(value) for value in held["data"]):
        yield from (("", _checked(value)) for value in held["data"])
    else:
        yield "", _checked(held)


def _form(key: str, value: object) -> str:
    """Return which form an object has according to one member: an entry, entries, columns, or unknown."""
    if is_structure(value):
        return "entry" if key in STRUCTURE_KEYS else "entries"
    if key == "sites":
        return "entry"
    if _is_entry(value):
        return "entries"
    if isinstance(value, Mapping) and value:
        if all(is_structure(member) for member in value.values()):
            return "columns" if key in STRUCTURE_KEYS else "entries"
        if all(_is_entry(member) for member in value.values()):
            return "entries"
    return ""


def _named(key: str, value: object) -> Iterator[tuple[str, Entry | Exception]]:
    if (
        isinstance(value, Mapping)
        and value
        and all(isinstance(member, Mapping) for member in value.values())
        and not _is_entry(value)
    ):
        yield from ((f"{key}:{name}", _checked(member)) for name, member in value.items())
    else:
        yield key, _checked(value)


def _row(columns: list[str], row: object) -> object:
    if not isinstance(row, list) or len(row) != len(columns):
        return ValueError(f"a row of the table must have {len(columns)} values, got {str(row)[:80]}")
    return dict(zip(columns, row, strict=True))


def _rows_of_columns(columns: Mapping[str, Any]) -> Iterator[tuple[str, Entry | Exception]]:
    tables = {name: column for name, column in columns.items() if isinstance(column, Mapping)}
    for index in next(iter(tables.values())):
        yield (
            f"row {index}" if index.isdigit() else index,
            _checked({name: column.get(index) for name, column in tables.items()}),
        )
