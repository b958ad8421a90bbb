"""Read the folder of a VASP run once, although several of its files contain the same structures.

The structures are read from ``vasprun.xml``; without it, from ``OUTCAR``; without both, from ``XDATCAR``
with the energies of ``OSZICAR``. Files with the same ending, such as ``vasprun.xml.relax1`` and
``OUTCAR.relax1``, are one calculation. The other files of the run, including ``POSCAR`` and ``CONTCAR``, are
passed over.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from mml_data.importers.compressed import decompressed_name
from mml_data.importers.formats import Format
from mml_data.importers.readers.vasp_outcar import read_outcar
from mml_data.importers.readers.vasp_xdatcar import read_oszicar, read_xdatcar
from mml_data.importers.readers.vasp_xml import read_vasprun
from mml_data.importers.source import Item

__all__ = ["FORMAT", "read_run"]

_OUTPUT = re.compile(r"^(vasprun\.xml|OUTCAR)((?:\.[A-Za-z]\w*)?)$")
_OTHERS = frozenset(
    {"POSCAR", "CONTCAR", "XDATCAR", "OSZICAR", "INCAR", "KPOINTS", "POTCAR", "IBZKPT", "DOSCAR", "EIGENVAL"}
    | {"PROCAR", "PCDAT", "CHG", "CHGCAR", "LOCPOT", "WAVECAR", "REPORT", "ELFCAR", "vaspout.h5"}
)


def _outputs(names: frozenset[str]) -> dict[str, dict[str, str]]:
    """Return the names of the files with labels, by the ending of a calculation and by the kind of file."""
    found: dict[str, dict[str, str]] = {}
    for name in sorted(names):  # an uncompressed file comes before a compressed one with the same name
        if match := _OUTPUT.match(decompressed_name(name)):
            found.setdefault(match[2], {}).setdefault(match[1], name)
    return found


def _plain(names: frozenset[str]) -> dict[str, str]:
    return {decompressed_name(name): name for name in sorted(names, reverse=True)}


def _folder(folder: Path, names: frozenset[str]) -> frozenset[str]:
    outputs, plain = _outputs(names), _plain(names)
    if not outputs and not {"XDATCAR", "OSZICAR"} <= plain.keys():
        return frozenset()
    return frozenset(
        name for name in names if _OUTPUT.match(base := decompressed_name(name)) or base in _OTHERS
    )


def _read_files(names: frozenset[str]) -> list[str]:
    """Return the names of the files that are read: those with labels, or XDATCAR and OSZICAR."""
    outputs, plain = _outputs(names), _plain(names)
    if not outputs:
        return [plain["XDATCAR"], plain["OSZICAR"]]
    return [files["vasprun.xml" if "vasprun.xml" in files else "OUTCAR"] for files in outputs.values()]


def read_run(folder: Path) -> Iterator[Item]:
    """Yield the structures of the calculations in a folder."""
    names = frozenset(file.name for file in folder.iterdir() if file.is_file())
    files = [folder / name for name in _read_files(names)]
    if not _outputs(names):
        yield from read_xdatcar(files[0], read_oszicar(files[1]))
        return
    for file in files:
        yield from (read_vasprun if file.name.startswith("vasprun") else read_outcar)(file)


FORMAT = Format(
    name="VASP run",
    files="folders with vasprun.xml, OUTCAR, or XDATCAR and OSZICAR",
    labels="those of the first of these files; the other files of the run are passed over",
    matches=lambda name, head: False,
    read=read_run,
    folder=_folder,
    unread=lambda folder, names: names - set(_read_files(names)),
    catches_warnings=False,
)
