"""Choose the reader for a file."""

from pathlib import Path
from typing import Any

from mml_data.convert.files import existing_file
from mml_data.convert.jsonl import import_jsonl
from mml_data.manifest import Manifest

__all__ = ["import_source"]

_READERS = {".jsonl": import_jsonl}


def import_source(source: str | Path, dest: str | Path, **options: Any) -> Manifest:
    """Make a data set at `dest` from the file `source`, whose suffix says what it is.

    Parameters
    ----------
    source
        A JSON-lines file (``.jsonl``).
    dest
        Directory of the new data set.
    **options
        As for the reader: `import_jsonl`.

    Returns
    -------
    Manifest
        What was written.

    Raises
    ------
    FileNotFoundError
        Where there is no such file.
    ValueError
        Where there is no reader for it, or the reader refuses it.
    """
    source = existing_file(source)
    reader = _READERS.get(source.suffix.lower())
    if reader is None:
        readable = ", ".join(_READERS)
        raise ValueError(f"{str(source)!r} cannot be imported: only files that end in {readable} can be read")
    return reader(source, dest, **options)
