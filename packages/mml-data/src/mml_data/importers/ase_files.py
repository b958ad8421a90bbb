"""Read files with ASE: trajectories, extended XYZ, and databases (``.db``, ``.json`` and ``.aselmdb``).

Energy, forces and stress are taken from the calculator attached to a structure. Any other value (in ``info``,
in arrays or in the columns of a database) becomes a target if it is listed as wanted. Otherwise it is stored
under ``extra``.
"""

import io
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from mml_data.importers.files import file_checksum
from mml_data.importers.source import Item, Part, Structure, balanced

__all__ = ["AseDatabase", "ExtendedXYZ", "from_atoms", "read_with_ase", "require_ase"]

_ATOM_RESULTS = ("forces", "energies", "stresses", "charges", "magmoms")


def require_ase(path: Path) -> None:
    """Check that ASE is installed.

    Raises
    ------
    ImportError
        If ASE is not installed. The message contains the install command.
    """
    if find_spec("ase") is None:
        raise ImportError(
            f"reading {str(path)!r} requires ASE, which is not installed: pip install 'mml-data[ase]'"
        )


def from_atoms(atoms: Any, wanted: Collection[str] | None = None, **more: Any) -> Structure:
    """Convert an ``ase.Atoms`` object to a structure.

    Parameters
    ----------
    atoms
        Structure. The results of its calculator, its ``info`` and its arrays become labels. Nothing is
        calculated.
    wanted
        Not used.
    **more
        Further labels of the structure.

    Returns
    -------
    dict
        Structure in the form described in `mml_data.importers.structure`.
    """
    results = atoms.calc.results if atoms.calc is not None else {}
    results = {name: value for name, value in results.items() if value is not None}
    labels = {name: value for name, value in results.items() if name not in _ATOM_RESULTS}
    arrays = {name: value for name, value in atoms.arrays.items() if name not in ("numbers", "positions")}
    arrays |= {name: value for name, value in results.items() if name in _ATOM_RESULTS}
    has_cell = bool(atoms.cell.any())
    return {
        "atomic_numbers": atoms.numbers,
        "positions": atoms.positions,
        "cell": np.array(atoms.cell) if has_cell else None,
        "pbc": [bool(flag) for flag in atoms.pbc],
        "labels": {**labels, **atoms.info, **more},
        "atom_labels": arrays,
    }


def stress_matrix(stress: object) -> np.ndarray:
    """Convert a stress in ASE's Voigt order (xx yy zz yz xz xy) to a [3, 3] matrix.

    A matrix is returned unchanged.
    """
    stress = np.asarray(stress, dtype=np.float64)
    if stress.shape == (6,):
        xx, yy, zz, yz, xz, xy = stress
        return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    return stress.reshape(3, 3)


def read_with_ase(path: Path, wanted: Collection[str] | None) -> Iterator[Item]:
    """Yield the structures of a file that ASE reads. If ASE fails, the last item is the error."""
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
    """Source for the frames of an (extended) XYZ file.

    Parameters
    ----------
    path
        Path of the file.
    wanted
        Names of further targets. See `from_atoms`.
    """

    may_lack = True
    units: Mapping[str, str] = {}

    def __init__(self, path: Path, wanted: Collection[str] | None = None) -> None:
        require_ase(path)
        self.path = path
        self.wanted = None if wanted is None else tuple(wanted)

    def describe(self) -> dict[str, object]:
        """Return the description of the source for the manifest."""
        return {"origin": self.path.name, "format": "extended XYZ", "sha256": file_checksum(self.path)}

    def parts(self, count: int) -> list[Part]:
        """Divide the file at the boundaries of frames."""
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
    """Move to the end of a frame, and return False at the end of the file.

    A frame consists of its number of atoms, a comment, and a line for each atom. If the first line is not a
    number, the rest of the file cannot be divided into frames, and the position moves to the end of the file.
    """
    line = file.readline()
    while line and not line.strip():
        line = file.readline()
    try:
        num_atoms = int(line)
    except ValueError:
        file.seek(0, io.SEEK_END)
        return False
    for _ in range(num_atoms + 1):
        line = file.readline()
    return bool(line)


class AseDatabase:
    """Source for the rows of an ASE database, or of a directory of ``.aselmdb`` files.

    Parameters
    ----------
    path
        Path of the database.
    wanted
        Names of columns, items of ``data`` and further results that become targets.
    """

    may_lack = True
    units: Mapping[str, str] = {}

    def __init__(self, path: Path, wanted: Collection[str] | None = None) -> None:
        require_ase(path)
        if path.suffix == ".aselmdb" and find_spec("ase_db_backends") is None:
            raise ImportError(
                f"reading {str(path)!r} requires ase-db-backends, which is not installed: "
                "pip install 'mml-data[convert]'"
            )
        self.path = path
        self.wanted = None if wanted is None else tuple(wanted)

    def describe(self) -> dict[str, object]:
        """Return the description of the source for the manifest."""
        return {"origin": self.path.name, "format": "ASE database"}

    def parts(self, count: int) -> list[Part]:
        """Divide the rows evenly."""
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
    """Open a database read-only, and close it on exit."""
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
    return ValueError(f"ASE cannot read this structure: {type(error).__name__}: {text}")
