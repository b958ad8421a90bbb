"""Read POSCAR and CONTCAR files of VASP.

The lines are a comment, the scale (if negative, the volume in angstrom^3), three lattice vectors, the symbols
of the elements (absent in files of VASP 4), their numbers of atoms, optionally ``Selective dynamics``,
``Direct`` or ``Cartesian``, and the positions. See https://www.vasp.at/wiki/index.php/POSCAR. Symbols may
have the suffixes of pseudopotentials and hashes, such as ``Na_pv`` and ``Na/1a2b3c``.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mml_data.importers.formats import Format
from mml_data.importers.readers.symbols import numbers_of
from mml_data.importers.source import Item, Structure

__all__ = ["FORMAT", "read_poscar"]

_SUFFIX = re.compile(r"[_/].*$")
_SYMBOL = re.compile(r"[A-Z][a-z]?")


def read_poscar(path: Path, elements: Sequence[str] | None = None) -> Iterator[Item]:
    """Yield the structure of a file.

    Parameters
    ----------
    path
        Path of the file.
    elements
        Symbols of the elements, for a file without them.
    """
    try:
        yield str(path), _structure(path.read_text(encoding="utf-8-sig", errors="replace"), elements)
    except (ValueError, IndexError) as error:
        reason = "the file is truncated" if isinstance(error, IndexError) else str(error)
        yield str(path), ValueError(reason)


def _structure(text: str, elements: Sequence[str] | None) -> Structure:
    lines = text.splitlines()
    scales = _floats(lines[1], None)
    cell = np.array([_floats(line, 3) for line in lines[2:5]])
    words, at, warnings = lines[5].split(), 6, []
    if words and not words[0].isdigit():
        symbols = [_SUFFIX.sub("", word) for word in words]
        counts = _counts(lines[at].split())
        at += 1
        if elements is not None and list(elements) != symbols:
            raise ValueError(f"the file has the elements {symbols}, but elements are {list(elements)}")
    else:
        counts = _counts(words)
        symbols = _symbols_without_line(lines[0], counts, elements)
        if elements is None:
            warnings.append(f"the elements {' '.join(symbols)} were read from the comment of the POSCAR")
    if len(symbols) != len(counts):
        raise ValueError(f"the file has {len(symbols)} elements, but {len(counts)} numbers of atoms")
    numbers, isotopes = numbers_of(
        [symbol for symbol, count in zip(symbols, counts, strict=True) for _ in range(count)]
    )
    is_selective = lines[at].strip()[:1] in ("S", "s")
    at += is_selective
    mode = lines[at].strip()[:1]
    rows = [line.split() for line in lines[at + 1 : at + 1 + sum(counts)]]
    if len(rows) < sum(counts) or any(len(row) < 3 for row in rows):
        raise ValueError(f"expected {sum(counts)} positions, got {sum(len(row) >= 3 for row in rows)}")
    positions = np.array([_floats(" ".join(row[:3]), 3) for row in rows])
    factor = _scale(scales, cell)
    cell = cell * factor
    positions = positions * factor if mode in ("C", "c", "K", "k") else positions @ cell
    structure: Structure = {
        "atomic_numbers": numbers,
        "positions": positions,
        "cell": cell,
        "pbc": [True, True, True],
        "extra": {"comment": lines[0].strip()},
    }
    if is_selective:
        flags = [[flag[:1].upper() == "F" for flag in row[3:6]] for row in rows]
        structure["atom_labels"] = {"fixed": np.array([len(each) == 3 and all(each) for each in flags])}
    return structure | ({"warnings": [*warnings, *isotopes]} if warnings or isotopes else {})


def _symbols_without_line(comment: str, counts: Sequence[int], elements: Sequence[str] | None) -> list[str]:
    """Return the symbols of a file of VASP 4: `elements`, or the symbols in the comment.

    Raises
    ------
    ValueError
        If neither has the right number of symbols, or if the numbers behind the symbols in the comment are
        not those of the atoms.
    """
    count = len(counts)
    if elements is not None:
        if len(elements) != count:
            raise ValueError(f"the file has {count} elements, but elements are {list(elements)}")
        return list(elements)
    words = comment.split()
    symbols = [re.fullmatch(r"([A-Z][a-z]?)(\d*)", word) for word in words[:count]]
    found = [each[1] for each in symbols if each is not None and _is_element(each[1])]
    numbers = [each[2] for each in symbols if each is not None]
    # "In" and "As" can begin a sentence: symbols before other words need the numbers of atoms (Na4 Cl4).
    if len(words) > count and numbers != [str(number) for number in counts]:
        found = []
    if any(number and int(number) != wanted for number, wanted in zip(numbers, counts, strict=False)):
        found = []
    if len(found) != count:
        raise ValueError(
            f"the file has no line with the symbols of its {count} elements, as in VASP 4, and its comment "
            f"{comment.strip()!r} does not consist of {count} symbols; add the line, or pass "
            "elements=[...] (--elements Na Cl)"
        )
    return found


def _is_element(symbol: str) -> bool:
    try:
        numbers_of([symbol])
    except ValueError:
        return False
    return True


def _scale(scales: list[float], cell: np.ndarray) -> float | np.ndarray:
    if len(scales) == 3:
        return np.array(scales)
    if len(scales) != 1 or not scales[0]:
        raise ValueError(f"the scale must be one or three numbers other than 0, got {scales}")
    if scales[0] > 0:
        return scales[0]
    volume = abs(float(np.linalg.det(cell)))
    if not volume:
        raise ValueError("the lattice vectors have zero volume")
    return float((-scales[0] / volume) ** (1 / 3))


def _floats(line: str, count: int | None) -> list[float]:
    words = line.split()
    values = []
    for word in words if count is None else words[:count]:
        try:
            values.append(float(word))
        except ValueError:
            if count is not None:
                raise ValueError(f"expected {count} numbers, got {line.strip()!r}") from None
            break
    if count is not None and len(values) < count:
        raise ValueError(f"expected {count} numbers, got {line.strip()!r}")
    return values


def _counts(words: Sequence[str]) -> list[int]:
    counts = []
    for word in words:
        if not word.isdigit():
            break
        counts.append(int(word))
    if not counts or not sum(counts):
        raise ValueError(f"expected the numbers of atoms of the elements, got {' '.join(words)!r}")
    return counts


def _matches(name: str, head: bytes) -> bool:
    if name.startswith(("poscar", "contcar")) or name.endswith((".vasp", ".poscar")):
        return True
    lines = head.decode("latin-1").splitlines()[:9]
    if len(lines) < 8 or "." in name or b"Direct configuration=" in head:  # the last is an XDATCAR
        return False
    try:
        scale, *_ = _floats(lines[1], 1)
        vectors = [_floats(line, 3) for line in lines[2:5]]
    except ValueError:
        return False
    words = lines[5].split()
    has_counts = bool(words) and (
        all(word.isdigit() for word in words)
        or (all(_SYMBOL.match(word) for word in words) and all(w.isdigit() for w in lines[6].split()))
    )
    return bool(scale) and len(vectors) == 3 and has_counts and lines[1].split() == lines[1].split()[:1]


FORMAT = Format(
    name="POSCAR",
    files="POSCAR*, CONTCAR*, *.vasp, *.poscar",
    labels="none; selective dynamics gives fixed",
    matches=_matches,
    read=read_poscar,
    takes_elements=True,
    catches_warnings=False,
)
