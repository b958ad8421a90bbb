"""Read XYZ files and extended XYZ files in the dialects of ASE, libAtoms, MACE, GAP and NEP.

The second line of a frame has pairs ``key=value``. ``Lattice`` (nine numbers, rows are the lattice vectors,
in angstrom), ``pbc`` and ``Properties`` (names, types and widths of the columns) are known. The other pairs
are labels of the structure, and the columns other than ``species`` (or ``Z``) and ``pos`` are labels of the
atoms. All labels keep their names, values and signs, except that ASE's column ``move_mask`` becomes
``fixed``, its opposite. See https://github.com/libAtoms/extxyz.

The library ``extxyz`` parses the frames. Frames that it refuses are parsed by ASE. A second line that is free
text is stored as ``comment`` under ``extra``.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from mml_data.importers.formats import Format
from mml_data.importers.readers.symbols import numbers_of
from mml_data.importers.readers.xyz_with_ase import PLAIN, decode, frame_with_ase
from mml_data.importers.source import Item, Part, Structure

__all__ = ["FORMAT", "read_xyz"]

_BOM = b"\xef\xbb\xbf"
_LONGEST = 850  # the library has 1,024 bytes for error messages, which contain the line
_COLUMN = rb"[A-Za-z_][^\s:\"'=\[\]{}]*:[SRIL]:[1-9]\d?"
_PROPERTIES = re.compile(rb'(?:^|\s)Properties=("?)' + _COLUMN + rb"(?::" + _COLUMN + rb")*\1(?=\s|$)")
_LARGE = re.compile(rb"(?<![\d.])\d{10,}(?![\d.])")


def read_xyz(path: Path) -> Iterator[Item]:
    """Yield the frames of a file.

    Raises
    ------
    ImportError
        If the libraries that read the format are not installed.
    """
    return _Frames(path, 0, path.stat().st_size, 0).read()


def _parts(path: Path, count: int) -> list[Part]:
    """Divide a file at the boundaries of frames."""
    size = path.stat().st_size
    if count == 1:
        return [_Frames(path, 0, size, 0)]
    parts: list[Part] = []
    start = first = 0
    with path.open("rb") as file:
        for number, (position, _, _) in enumerate(_scan(file, 0, size)):
            if position >= size * (len(parts) + 1) / count and position > start:
                parts.append(_Frames(path, start, position, first))
                start, first = position, number
    return [*parts, _Frames(path, start, size, first)]


def _scan(file: Any, position: int, end: int) -> Iterator[tuple[int, int, list[bytes]]]:
    """Yield the position, the number of atoms and the lines of each frame.

    The number of atoms is -1 if the first line is not a number. Such a frame ends the file. The lines are the
    second one, those of the atoms, and the lattice vectors VEC1, VEC2 and VEC3 of old files.
    """
    line = file.readline()
    while position < end:
        start, position = position, position + len(line)
        if not line.strip():
            line = file.readline()
            continue
        if line.startswith(_BOM):
            line = line.removeprefix(_BOM)
            start += len(_BOM)
        digits = line.strip()
        if not digits.isdigit() or len(digits) > 9:
            yield start, -1, [line]
            return
        num_atoms = int(digits)
        lines = list(islice(file, num_atoms + 1))
        position += sum(map(len, lines))
        line = file.readline()
        while line.startswith(b"VEC"):
            lines.append(line)
            position += len(line)
            line = file.readline()
        yield start, num_atoms, lines


@dataclass(frozen=True)
class _Frames:
    path: Path
    start: int
    end: int
    first: int

    def read(self, start: int = 0) -> Iterator[Item]:
        if find_spec("ase") is None or find_spec("extxyz") is None:
            raise ImportError(
                f"reading {str(self.path)!r} requires ASE and extxyz, which are not installed: pip install "
                "'mml-data[ase]'"
            )
        from extxyz import cextxyz

        stream = cextxyz.cfopen(str(self.path), "r")
        try:
            with self.path.open("rb") as file:
                file.seek(self.start)
                frames = _scan(file, self.start, self.end)
                for frame, (position, num_atoms, lines) in enumerate(frames, self.first):
                    if frame - self.first < start:
                        continue
                    place = f"{self.path}:frame {frame + 1}"
                    try:
                        if num_atoms < 1:  # the library crashes on frames without atoms
                            raise ValueError(
                                "a frame must begin with its number of atoms, got "
                                f"{b''.join(lines[:1])[:40].decode('utf-8', 'replace').strip()!r}"
                                f"{'' if num_atoms == 0 else '; the rest of the file is not read'}"
                            )
                        if len(lines) < num_atoms + 1:
                            raise ValueError(
                                f"the frame is truncated: expected {num_atoms} atoms, got "
                                f"{max(len(lines) - 1, 0)}"
                            )
                        if cextxyz.cftell(stream) != position:
                            cextxyz.cfseek(stream, position, 0)
                        structure = _frame(cextxyz, stream, lines[: num_atoms + 1], frame)
                        if len(lines) > num_atoms + 1:
                            structure |= _vectors(lines[num_atoms + 1 :])
                        yield place, structure
                    except (ValueError, KeyError) as error:
                        yield place, error if isinstance(error, ValueError) else ValueError(str(error))
        finally:
            cextxyz.cfclose(stream)


def _frame(cextxyz: Any, stream: Any, lines: list[bytes], frame: int) -> Structure:
    """Parse a frame with extxyz, or else with ASE."""
    if not _suits_library(lines):
        return frame_with_ase(lines, frame)
    comment, text = None, {}
    if b"Properties" not in lines[0]:
        content = decode(lines[0]).strip()
        comment = f"{content} {PLAIN}" if "=" in content else PLAIN
        text = {"comment": content} if content and "=" not in content else {}
    try:
        _, labels, arrays = cextxyz.read_frame_dicts(stream, use_cleri=False, comment=comment)
    except (cextxyz.ExtXYZError, UnicodeDecodeError, EOFError):
        return frame_with_ase(lines, frame)
    return _structure(labels, arrays, {"frame": frame, **text})


def _suits_library(lines: list[bytes]) -> bool:
    """Return whether the library parses a frame safely.

    It crashes on malformed ``Properties`` and on errors in long lines, and it has integers of 32 bits.
    """
    comment = lines[0]
    if b"Properties" in comment and not (
        comment.count(b"Properties") == 1 and _PROPERTIES.search(comment) is not None
    ):
        return False
    if max(map(len, lines)) > _LONGEST or _LARGE.search(comment) is not None:
        return False
    return b":I:" not in comment or not any(map(_LARGE.search, lines))


def _structure(labels: dict[str, Any], arrays: dict[str, Any], extra: dict[str, Any]) -> Structure:
    cell = labels.pop("Lattice", None)
    pbc = labels.pop("pbc", None)
    labels.pop("Properties", None)
    for name, value in labels.items():
        if type(value) is str and value.lower() in ("nan", "-nan", "+nan"):
            labels[name] = float("nan")
    species = arrays.pop("species", None)
    isotopes: list[str] = []
    if species is not None:
        numbers, isotopes = numbers_of(species.tolist() if species.ndim else [species.item()])
        arrays.pop("Z", None)
    elif "Z" in arrays:
        numbers = arrays.pop("Z")
    else:
        raise ValueError(f"the frame has no column species or Z, only {', '.join(arrays)}")
    if "pos" not in arrays:
        raise ValueError(f"the frame has no column pos, only {', '.join(arrays)}")
    if "move_mask" in arrays:
        movable = np.asarray(arrays.pop("move_mask"), dtype=bool)
        arrays["fixed"] = ~movable.reshape(len(movable), -1).any(axis=1)
    structure: Structure = {
        "atomic_numbers": np.atleast_1d(numbers),
        "positions": arrays.pop("pos").reshape(-1, 3),
        "cell": None if cell is None else _lattice(cell),
        "pbc": _flags(pbc, cell is not None),
        "labels": labels,
        "atom_labels": arrays,
        "extra": extra,
    }
    if isotopes:
        structure["warnings"] = isotopes
    return structure


def _lattice(cell: Any) -> np.ndarray | None:
    array = np.asarray(cell, dtype=np.float64)
    if array.size == 3:
        array = np.diag(array.ravel())
    if array.size != 9:
        raise ValueError(f"Lattice must have nine numbers, got {array.size}")
    # The library returns the lattice vectors as columns.
    return np.ascontiguousarray(array.reshape(3, 3).T) if array.any() else None


def _vectors(lines: list[bytes]) -> Structure:
    """Return the cell of the lines VEC1, VEC2 and VEC3. It is periodic along the given vectors."""
    cell = np.zeros((3, 3))
    for number, line in enumerate(lines):
        words = line.decode("latin-1").split()
        if number > 2 or words[0] != f"VEC{number + 1}" or len(words) != 4:
            raise ValueError(
                "the lattice vectors must be VEC1, VEC2 and VEC3 with three numbers each, got "
                f"{' '.join(words)!r}"
            )
        cell[number] = [float(word) for word in words[1:]]
    return {"cell": cell, "pbc": cell.any(axis=1)}


def _flags(pbc: Any, has_cell: bool) -> np.ndarray:
    if pbc is None:
        return np.full(3, has_cell)
    array = np.atleast_1d(np.asarray(pbc))
    return np.broadcast_to(array, 3).astype(bool) if array.size == 1 else array.astype(bool)


def _matches(name: str, head: bytes) -> bool:
    lines = head.removeprefix(_BOM).lstrip().split(b"\n", 3)
    if len(lines) < 2 or not lines[0].strip().isdigit() or lines[1].lstrip().startswith(b"gdb"):
        return False
    if name.endswith((".xyz", ".extxyz")) or b"Properties=" in lines[1]:
        return True
    words = lines[2].split() if len(lines) > 2 else []  # an XYZ file with another name
    try:
        is_symbol = len(words) >= 4 and words[0].isalpha() and bool(numbers_of([words[0].decode()]))
        return is_symbol and len([*map(float, words[1:4])]) == 3
    except (ValueError, UnicodeDecodeError):
        return False


FORMAT = Format(
    name="extended XYZ",
    files="*.xyz, *.extxyz",
    labels="pairs of the second line and columns, with their own names and units",
    matches=_matches,
    read=read_xyz,
    parts=_parts,
    requires="ase",
    catches_warnings=False,
)
