"""Read files that are loaded as a whole: CIF, POSCAR, pymatgen's JSON, and other formats that ASE reads.

A JSON file contains a structure (pymatgen's ``as_dict``), an entry (a dict with ``structure`` and further
values), or a list or dict of these. The numbers and booleans of an entry are its targets. All other values
are stored under ``extra``.
"""

import gzip
import json
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mml_data.importers.ase_files import read_with_ase
from mml_data.importers.files import file_checksum
from mml_data.importers.source import Item, Part, Structure
from mml_data.importers.structure import from_pymatgen, from_structure_dict, plain

__all__ = ["SingleFile", "read_json_entry"]

Wanted = Collection[str] | None


class SingleFile:
    """Source for the structures of one file.

    Parameters
    ----------
    path
        Path of the file.
    kind
        ``"CIF"``, ``"POSCAR"``, ``"pymatgen JSON"`` or ``"ASE"``.
    wanted
        Names of targets. For a file that ASE reads, they are added to energy, forces and stress. For an entry
        in JSON, they are the only targets.
    """

    may_lack = True
    units: Mapping[str, str] = {}

    def __init__(self, path: Path, kind: str, wanted: Wanted = None) -> None:
        self.path = path
        self.kind = kind
        self.wanted = None if wanted is None else tuple(wanted)

    def describe(self) -> dict[str, object]:
        """Return the description of the source for the manifest."""
        return {"origin": self.path.name, "format": self.kind, "sha256": file_checksum(self.path)}

    def parts(self, count: int) -> list[Part]:
        """Return the whole file as a single part."""
        return [_WholeFile(self.path, self.kind, self.wanted)]


@dataclass(frozen=True)
class _WholeFile:
    path: Path
    kind: str
    wanted: tuple[str, ...] | None

    def read(self, start: int = 0) -> Iterator[Item]:
        for number, item in enumerate(_READERS[self.kind](self.path, self.wanted)):
            if number >= start:
                yield item


def read_json_entry(entry: object, wanted: Wanted) -> Structure:
    """Convert a structure or an entry from a JSON file.

    Raises
    ------
    ValueError
        If `entry` is neither a structure nor an entry with a structure.
    """
    if not isinstance(entry, Mapping):
        raise ValueError(f"an entry must be an object with a structure, got {type(entry).__name__}")
    if "sites" in entry:
        return from_structure_dict(entry)
    if not isinstance(entry.get("structure"), Mapping):
        raise ValueError(
            "an entry must have 'sites' or a 'structure', got the keys "
            f"{', '.join(map(str, entry)) or '(none)'}"
        )
    structure = from_structure_dict(entry["structure"])
    targets: dict[str, object] = {}
    extra: dict[str, object] = dict(structure.get("extra", {}))
    for name, value in entry.items():
        if name == "structure" or name.startswith("@"):
            continue
        if isinstance(value, bool | int | float) if wanted is None else name in wanted:
            targets[name] = value
        else:
            extra[name] = plain(value)
    return structure | {"targets": targets, "extra": extra}


def _read_cif(path: Path, wanted: Wanted) -> Iterator[Item]:
    from pymatgen.io.cif import CifParser

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pymatgen warns about input that it has repaired
        parser = CifParser(str(path))
        structures = parser.parse_structures(primitive=False)
    for number, structure in enumerate(structures, 1):
        place = str(path) if len(structures) == 1 else f"{path}:{number}"
        yield place, _caught(lambda structure=structure: from_pymatgen(structure))  # type: ignore[misc]


def _read_poscar(path: Path, wanted: Wanted) -> Iterator[Item]:
    from pymatgen.io.vasp.inputs import Poscar

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        poscar = Poscar.from_file(str(path), check_for_potcar=False)
    yield str(path), _caught(lambda: from_pymatgen(poscar.structure))


def _read_json(path: Path, wanted: Wanted) -> Iterator[Item]:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        content = json.load(file)
    if isinstance(content, Mapping) and not {"sites", "structure"} & content.keys():
        entries = [(f"{path}:{name}", entry) for name, entry in content.items() if not name.startswith("@")]
    elif isinstance(content, list):
        entries = [(f"{path}:{number}", entry) for number, entry in enumerate(content, 1)]
    else:
        entries = [(str(path), content)]
    for place, entry in entries:
        yield place, _caught(lambda entry=entry: read_json_entry(entry, wanted))  # type: ignore[misc]


def _caught(read: Callable[[], dict[str, object]]) -> dict[str, object] | Exception:
    try:
        return read()
    except (KeyError, TypeError, ValueError) as error:
        return ValueError(f"the key {error} is missing") if isinstance(error, KeyError) else error


def _whole(reader: Callable[[Path, Wanted], Iterator[Item]]) -> Callable[[Path, Wanted], Iterator[Item]]:
    """Wrap a reader so that it yields an error that concerns the whole file as an item."""

    def read(path: Path, wanted: Wanted) -> Iterator[Item]:
        try:
            yield from reader(path, wanted)
        except Exception as error:
            yield str(path), ValueError(f"the file cannot be read: {type(error).__name__}: {error}")

    return read


_READERS: dict[str, Callable[[Path, Wanted], Iterator[Item]]] = {
    "CIF": _whole(_read_cif),
    "POSCAR": _whole(_read_poscar),
    "pymatgen JSON": _whole(_read_json),
    "ASE": read_with_ase,
}
