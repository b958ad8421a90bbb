"""Formats of JSON files. All share one reader, which recognizes the dialect of each entry.

Entries without a known dialect, such as the rows of pandas and matbench, keep the names of all their values
as labels. Their units are unknown to the reader.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mml_data.importers.formats import Format
from mml_data.importers.readers import computed_entry, jarvis, matpes, mlearn, mptrj, optimade
from mml_data.importers.readers.any_structure import STAGES, any_structure, is_structure, labels_of
from mml_data.importers.readers.dialect import Dialect
from mml_data.importers.readers.json_entries import json_entries, structure_key
from mml_data.importers.source import Item, Structure

__all__ = ["FORMATS", "convert_entry", "read_json"]


def convert_entry(entry: Mapping[str, Any]) -> Structure:
    """Convert an entry of a JSON file or a row of a table to a structure.

    Raises
    ------
    ValueError
        If the structure of the entry cannot be read.
    """
    for dialect in DIALECTS:
        if dialect.owns(entry):
            return dialect.convert(entry)
    if is_structure(entry):
        return any_structure(entry)
    key = structure_key(entry)
    if key is None:
        raise ValueError(
            f"an entry must have 'sites' or a 'structure', got the keys {', '.join(entry) or '(none)'}"
        )
    others = [each for each in STAGES if each != key and each in entry]
    if key in STAGES and others:
        raise ValueError(
            f"{key!r} and {others[0]!r} could each be the structure; name the one to import 'structure'"
        )
    found = any_structure(entry[key])
    labels, extra = labels_of(entry, skip=(key,))
    return found | {"labels": found.get("labels", {}) | labels, "extra": found.get("extra", {}) | extra}


def read_json(path: Path) -> Iterator[Item]:
    """Yield the structures of a JSON file in any of the formats of this module."""
    for name, entry in json_entries(path):
        place = f"{path}:{name}"
        if isinstance(entry, Exception):
            yield place, entry
            continue
        try:
            structure = convert_entry(entry)
        except KeyError as error:
            yield place, ValueError(f"the key {error} is missing")
        except (ImportError, TypeError, ValueError, AttributeError, IndexError) as error:
            yield place, ValueError(f"the structure cannot be read: {error}")
        else:
            if not name.startswith(("entry ", "row ")):
                structure.setdefault("sample_id", name.rpartition(":")[2])
            yield place, structure


_TABLE = Dialect(
    name="pandas JSON",
    files="*.json of pandas and matbench (matbench_*.json.gz)",
    labels="columns with their own names and units; nulls are missing",
    hints=(b'"columns"', b'"data"'),
    owns=lambda entry: False,
    convert=convert_entry,
)

_PYMATGEN = Dialect(
    name="pymatgen JSON",
    files="*.json, *.jsonl with structures of pymatgen",
    labels="values beside the structure and site properties, with their own names and units; null is missing",
    hints=(b'"sites"',),
    owns=lambda entry: False,
    convert=convert_entry,
)

DIALECTS = (
    mptrj.DIALECT,
    matpes.DIALECT,
    jarvis.DIALECT,
    mlearn.DIALECT,
    computed_entry.DIALECT,
    optimade.DIALECT,
)
"""Dialects that are recognized by the keys of an entry, in order of precedence."""

_BY_HEAD = (*DIALECTS, _TABLE, _PYMATGEN)
_NOT_HERE = (b"__ase_objtype__", b"__ndarray__", b'"dpdata.')


def _dialect_of(name: str, head: bytes) -> Dialect | None:
    """Return the first dialect whose hints are all in the first 64 kB of a file."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if start not in (b"{", b"[") or any(text in head for text in _NOT_HERE):
        return None
    return next((each for each in _BY_HEAD if all(hint in head for hint in each.hints)), None)


def _matches(dialect: Dialect) -> Callable[[str, bytes], bool]:
    return lambda name, head: _dialect_of(name, head) is dialect


FORMATS = tuple(Format(each.name, each.files, each.labels, _matches(each), read_json) for each in _BY_HEAD)
"""Formats of JSON files."""
