"""What ASE reads: trajectories, extended XYZ, and its databases (``.db``, ``.json`` and ``.aselmdb``).

Energy, forces and stress are those of the calculator that is attached to a structure. What else is there
(``info``, arrays, the columns of a database) becomes a target where it is named, and else stands under
``extra``.
"""

import io
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from mml_data.convert.files import file_checksum
from mml_data.convert.source import Item, Part, balanced
from mml_data.convert.structure import plain

__all__ = ["AseDatabase", "ExtendedXYZ", "from_atoms", "read_with_ase", "require_ase"]

_RESULTS = {"energy": "energy", "forces": "force", "stress": "stress"}
_OWN_ARRAYS = ("numbers", "positions", "forces", "force", "stress", "energy")


def require_ase(path: Path) -> None:
    """Check that ASE is installed.

    Raises
    ------
    ImportError
        Where it is not; the message holds the install command.
    """
    if find_spec("ase") is None:
        raise ImportError(
            f"{str(path)!r} is read with ASE, which is not installed: pip install 'mml-data[ase]'"
        )


def from_atoms(atoms: Any, wanted: Collection[str] | None = None, **more: Any) -> dict[str, Any]:
    """Read an ``ase.Atoms``.

    Parameters
    ----------
    atoms
        The structure; energy (eV), forces (eV/angstrom) and stress (eV/angstrom^3, ASE's sign) are those of
        its calculator's results, and nothing is calculated.
    wanted
        Targets beyond these three that are taken from ``info``, arrays or `more`, if they are there.
    **more
        Further facts of the structure.
    """
    results = atoms.calc.results if atoms.calc is not None else {}
    targets: dict[str, Any] = {
        target: results[name] for name, target in _RESULTS.items() if results.get(name) is not None
    }
    if "stress" in targets:
        targets["stress"] = stress_matrix(targets["stress"])
    extra: dict[str, Any] = {}
    arrays = {name: values for name, values in atoms.arrays.items() if name not in _OWN_ARRAYS}
    others = {name: value for name, value in results.items() if name not in _RESULTS}
    for name, value in (*arrays.items(), *others.items(), *atoms.info.items(), *more.items()):
        if name in (wanted or ()):
            targets[name] = value
        else:
            extra[name] = plain(value)
    has_cell = bool(atoms.cell.any())
    return {
        "atomic_numbers": atoms.numbers,
        "positions": atoms.positions,
        "cell": np.array(atoms.cell) if has_cell else None,
        "pbc": [bool(flag) for flag in atoms.pbc],
        "targets": targets,
        "extra": extra,
    }


def stress_matrix(stress: Any) -> np.ndarray:
    """Return a stress in ASE's Voigt order (xx yy zz yz xz xy) as [3, 3]; a matrix is returned as it is."""
    stress = np.asarray(stress, dtype=np.float64)
    if stress.shape == (6,):
        xx, yy, zz, yz, xz, xy = stress
        return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    return stress.reshape(3, 3)


def read_with_ase(path: Path, wanted: Collection[str] | None) -> Iterator[Item]:
    """Yield the structures of a file that ASE reads; where it fails, the error is the last item."""
    require_ase(path)
    from ase.io import iread

    number = 0
    try:
        for atoms in iread(str(path), ":"):
            number += 1
            yield f"{path}:{number}", from_atoms(atoms, wanted)
    except Exception as error:
        yield f"{path}:{number + 1}", _as_value_error(error)


class ExtendedXYZ:
    """The frames of an (extended) XYZ file.

    Parameters
    ----------
    path
        The file.
    wanted
        See `from_atoms`.
    """

    may_lack = True
    units: Mapping[str, str] = {}

    def __init__(self, path: Path, wanted: Collection[str] | None = None) -> None:
        require_ase(path)
        self.path = path
        self.wanted = None if wanted is None else tuple(wanted)

    def describe(self) -> dict[str, Any]:
        """Say what it is, for the manifest."""
        return {"origin": self.path.name, "format": "extended XYZ", "sha256": file_checksum(self.path)}

    def parts(self, count: int) -> list[Part]:
        """Divide the file between frames."""
        size = self.path.stat().st_size
        parts: list[Part] = []
        start = frames = first = 0
        with self.path.open("rb") as file:
            while True:
                here = file.tell()
                if here >= size * (len(parts) + 1) / count and here > start:
                    parts.append(_Frames(self.path, start, here, first, self.wanted))
                    start, first = here, frames
                if not _skip_frame(file):
                    break
                frames += 1
        if size > start:
            parts.append(_Frames(self.path, start, size, first, self.wanted))
        return parts


@dataclass(frozen=True)
class _Frames:
    path: Path
    start: int
    end: int
    first: int
    wanted: tuple[str, ...] | None

    def read(self, start: int = 0) -> Iterator[Item]:
        from ase.io.extxyz import read_xyz

        with self.path.open("rb") as file:
            file.seek(self.start)
            number = 0
            while file.tell() < self.end:
                here = file.tell()
                complete = _skip_frame(file)
                after = file.tell()
                number += 1
                if number > start:
                    place = f"{self.path}:frame {self.first + number}"
                    file.seek(here)
                    text = file.read(after - here)
                    if not complete and not text.strip():
                        return
                    try:
                        (atoms,) = read_xyz(io.StringIO(text.decode()), slice(None))
                        yield place, from_atoms(atoms, self.wanted)
                    except Exception as error:
                        yield place, _as_value_error(error)
                if not complete:
                    return


def _skip_frame(file: Any) -> bool:
    """Go to the end of a frame: its number of atoms, a comment, and a line for each atom; False at the end.

    Where the first line is no number, the rest of the file belongs to no frame that could be told: it goes to
    the end of it.
    """
    line = file.readline()
    while line and not line.strip():
        line = file.readline()
    try:
        natoms = int(line)
    except ValueError:
        file.seek(0, io.SEEK_END)
        return False
    for _ in range(natoms + 1):
        line = file.readline()
    return bool(line)


class AseDatabase:
    """The rows of an ASE database, or of a directory of ``.aselmdb`` files.

    Parameters
    ----------
    path
        The database.
    wanted
        Columns, items of ``data``, and further results that are targets.
    """

    may_lack = True
    units: Mapping[str, str] = {}

    def __init__(self, path: Path, wanted: Collection[str] | None = None) -> None:
        require_ase(path)
        if path.suffix == ".aselmdb" and find_spec("ase_db_backends") is None:
            raise ImportError(
                f"{str(path)!r} is read with ase-db-backends, which is not installed: "
                "pip install 'mml-data[convert]'"
            )
        self.path = path
        self.wanted = None if wanted is None else tuple(wanted)

    def describe(self) -> dict[str, Any]:
        """Say what it is, for the manifest."""
        return {"origin": self.path.name, "format": "ASE database"}

    def parts(self, count: int) -> list[Part]:
        """Divide the rows."""
        with _connected(self.path) as database:
            ids = list(getattr(database, "ids", None) or [row.id for row in database.select()])
        pieces = balanced([1] * len(ids), count)
        return [_Rows(self.path, tuple(ids[piece]), self.wanted) for piece in pieces]


@dataclass(frozen=True)
class _Rows:
    path: Path
    ids: tuple[int, ...]
    wanted: tuple[str, ...] | None

    def read(self, start: int = 0) -> Iterator[Item]:
        with _connected(self.path) as database:
            for number in self.ids[start:]:
                place = f"{self.path}:row {number}"
                try:
                    row = database.get(number)
                    more = {**(row.data or {}), **row.key_value_pairs}
                    yield place, from_atoms(row.toatoms(), self.wanted, **more)
                except Exception as error:
                    yield place, _as_value_error(error)


@contextmanager
def _connected(path: Path) -> Iterator[Any]:
    """Open a database, read only, and close it."""
    from ase.db import connect

    options = {"type": "aselmdb", "readonly": True} if path.suffix == ".aselmdb" else {}
    database = connect(str(path), use_lock_file=False, **options)
    try:
        yield database
    finally:
        if hasattr(database, "close"):
            database.close()


def _as_value_error(error: Exception) -> Exception:
    text = str(error) or type(error).__name__
    return ValueError(f"ASE cannot read it: {type(error).__name__}: {text}")
