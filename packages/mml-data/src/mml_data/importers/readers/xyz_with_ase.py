"""Parse frames of extended XYZ with ASE, if the library extxyz does not suit them."""

import io
import re
import warnings

from mml_data.importers.readers.ase_atoms import from_atoms
from mml_data.importers.readers.symbols import numbers_of
from mml_data.importers.source import Structure

__all__ = ["PLAIN", "decode", "frame_with_ase"]

PLAIN = "Properties=species:S:1:pos:R:3"
"""Columns of a file without Properties."""

_ISOTOPE = re.compile(r"^\s*[DT](?=\s)")


def frame_with_ase(lines: list[bytes], frame: int) -> Structure:
    """Parse a frame with ASE.

    Parameters
    ----------
    lines
        Second line, and the lines of the atoms. A second line without pairs is a comment.
    frame
        Number of the frame, for ``extra.frame``.

    Raises
    ------
    ValueError
        If ASE cannot parse the frame.
    """
    from ase.io.extxyz import read_xyz

    texts = [decode(line) for line in lines]
    comment = texts[0].strip()
    if "=" not in comment:
        texts[0] = "\n"
    noted: list[str] = []
    found = re.search(r"Properties=[\"']?([^\s\"']+)", comment)
    properties = found[1] if found else PLAIN.partition("=")[2]
    if properties.startswith("species:S:1:"):
        words = [text.split(maxsplit=1) for text in texts[1:]]
        isotopes = sorted({word[0] for word in words if word and word[0] in ("D", "T")})
        noted = [f"the isotope {symbol} is imported as H" for symbol in isotopes]
        texts[1:] = [_ISOTOPE.sub("H", text) for text in texts[1:]]
    columns = sum(int(word) for word in properties.split(":")[2::3] if word.isdigit())
    count = len(texts[1].split())
    if count < 4:
        raise ValueError(f"the frame is damaged: an atom has the line {texts[1].strip()!r}")
    if columns > count:
        raise ValueError(f"Properties names {columns} columns, but the first atom has {count}")
    if count > columns > 0:
        noted.append(f"the columns after number {columns} of {count} are not read; name them in Properties")
    text = "".join([f"{len(lines) - 1}\n", *texts])
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            (atoms,) = read_xyz(io.StringIO(text), slice(None))
    except Exception as error:
        if short := next((line for line in texts[1:] if len(line.split()) < 4), None):
            raise ValueError(f"the frame is damaged: an atom has the line {short.strip()!r}") from error
        if "species:S:1" in comment or "Properties" not in comment:
            # An unknown element explains more than ASE's error.
            numbers_of([line.split(maxsplit=1)[0] for line in texts[1:]])
        reason = str(error) or type(error).__name__
        raise ValueError(f"the frame cannot be read: {type(error).__name__}: {reason}") from error
    structure = from_atoms(atoms)
    structure["extra"] = {"frame": frame} | ({"comment": comment} if comment and "=" not in comment else {})
    noted += [str(each.message) for each in caught]
    return structure | ({"warnings": noted} if noted else {})


def decode(line: bytes) -> str:
    """Decode a line as UTF-8, or else as Latin-1."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("latin-1")
