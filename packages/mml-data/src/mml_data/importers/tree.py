"""Choose the reader of a file by its name, and read directories of files."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mml_data.importers.ase_files import AseDatabase, ExtendedXYZ
from mml_data.importers.jsonl import JSONLines
from mml_data.importers.legacy import LegacyLMDB
from mml_data.importers.single_files import SingleFile
from mml_data.importers.source import Item, Part, Source, balanced, existing
from mml_data.store.manifest import MANIFEST_FILE

__all__ = ["Tree", "open_source"]

Wanted = Collection[str] | None

READABLE = (
    "JSON lines (.jsonl), extended XYZ (.extxyz, .xyz), CIF (.cif), POSCAR (POSCAR*, CONTCAR*, .vasp), "
    "pymatgen's JSON (.json, .json.gz), ASE's databases (.db, .aselmdb), other formats that ASE reads, "
    "LMDBs of the older toolkit (.lmdb, or a directory of them), and directories of such files"
)


def open_source(
    path: str | Path, *, reader: str | None = None, targets: Wanted = None, trust_pickle: bool = False
) -> Source:
    """Open a file or directory as a source of structures.

    Parameters
    ----------
    path
        File or directory.
    reader
        Format of the older toolkit's LMDB files, such as ``"materials_project"``. Default: determined from
        the first record.
    targets
        Names of the targets to import. Default: the known targets of the format.
    trust_pickle
        Whether to execute the pickles in the older toolkit's LMDB files, including any code in them.

    Returns
    -------
    Source
        Source that reads the structures.

    Raises
    ------
    FileNotFoundError
        If `path` does not exist.
    ValueError
        If the format is not supported. The message lists the supported formats.
    ImportError
        If the library that reads the format is not installed.
    """
    path = existing(path)
    if path.is_dir() and (path / MANIFEST_FILE).exists():
        raise ValueError(f"{str(path)!r} is already a data set; use it without an import")
    if path.suffix == ".lmdb" or (path.is_dir() and _lmdb_files(path)) or reader is not None:
        return LegacyLMDB(_lmdb_files(path), path.name, reader, targets=targets, trust_pickle=trust_pickle)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file() and _is_known(file))
        if not files:
            raise ValueError(
                f"{str(path)!r} contains no files that can be imported; supported are {READABLE}"
            )
        return Tree(path, files, targets)
    source = _open_file(path, targets)
    if source is None:
        raise ValueError(f"{str(path)!r} has no supported format; supported are {READABLE}")
    return source


class Tree:
    """Source for the structures of the files in a directory, in the order of the file names.

    Parameters
    ----------
    root
        Directory.
    files
        Files in the directory.
    wanted
        Names of the targets to import.
    """

    may_lack = True
    units: Mapping[str, str] = {}

    def __init__(self, root: Path, files: list[Path], wanted: Wanted = None) -> None:
        self.root = root
        self.files = files
        self.wanted = None if wanted is None else tuple(wanted)

    def describe(self) -> dict[str, object]:
        """Return the description of the source for the manifest."""
        return {"origin": self.root.name, "format": "directory", "files": len(self.files)}

    def parts(self, count: int) -> list[Part]:
        """Divide the files so that all parts have about the same number of bytes."""
        pieces = balanced([file.stat().st_size for file in self.files], count)
        return [_Files(tuple(self.files[piece]), self.wanted) for piece in pieces]


@dataclass(frozen=True)
class _Files:
    files: tuple[Path, ...]
    wanted: tuple[str, ...] | None

    def read(self, start: int = 0) -> Iterator[Item]:
        number = 0
        for file in self.files:
            source = _open_file(file, self.wanted)
            for part in source.parts(1) if source is not None else ():
                for item in part.read():
                    number += 1
                    if number > start:
                        yield item


def _is_known(path: Path) -> bool:
    return _kind(path) not in (None, "ASE")


def _kind(path: Path) -> str | None:
    name, suffix = path.name.lower(), path.suffix.lower()
    if suffix in (".vasp", ".poscar") or name.startswith(("poscar", "contcar")):
        return "POSCAR"
    if name.endswith((".json", ".json.gz")):
        return "pymatgen JSON"
    kinds = {".jsonl": "JSON lines", ".xyz": "XYZ", ".extxyz": "XYZ", ".cif": "CIF", ".traj": "trajectory"}
    return kinds.get(suffix) or ("database" if suffix in (".db", ".aselmdb") else "ASE" if suffix else None)


def _open_file(path: Path, wanted: Wanted) -> Source | None:
    kind = _kind(path)
    if kind == "JSON lines":
        return JSONLines(path)
    if kind == "XYZ":
        return ExtendedXYZ(path, wanted)
    if kind == "database":
        return AseDatabase(path, wanted)
    if kind == "trajectory" or (kind == "ASE" and _ase_reads(path)):
        return SingleFile(path, "ASE", wanted)
    return SingleFile(path, kind, wanted) if kind in ("CIF", "POSCAR", "pymatgen JSON") else None


def _ase_reads(path: Path) -> bool:
    """Return whether ASE supports the format of a file."""
    try:
        from ase.io.formats import UnknownFileTypeError, filetype, ioformats
    except ImportError:
        return False
    try:
        return path.is_file() and filetype(str(path)) in ioformats
    except (UnknownFileTypeError, OSError):
        return False


def _lmdb_files(path: Path) -> list[Path]:
    """Return the LMDB files of the older toolkit at `path`: files, or directories with a ``data.mdb``."""
    if path.suffix == ".lmdb" or not path.is_dir():
        return [path]
    if (path / "data.mdb").exists():
        return [path]
    return sorted(file for file in path.iterdir() if file.suffix == ".lmdb")
