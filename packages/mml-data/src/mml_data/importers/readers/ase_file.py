"""Read trajectories and other files with ASE, if no other reader recognizes them."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from mml_data.importers.formats import Format
from mml_data.importers.readers.ase_atoms import from_atoms, require_ase
from mml_data.importers.source import Item

__all__ = ["FORMAT", "read_with_ase"]

_SUFFIXES = frozenset({"traj", "pdb", "xsf", "gen", "res", "cell", "cube"})
_NO_STRUCTURES = frozenset(
    {"json", "db", "postgresql", "mysql", "mongodb", "py", "html", "png", "eps", "pov"}
)


def read_with_ase(path: Path) -> Iterator[Item]:
    """Yield the structures of a file that ASE reads. If ASE fails, the last item is the error.

    Raises
    ------
    ImportError
        If ASE is not installed.
    """
    require_ase(path)
    from ase.io import iread

    number = 0
    try:
        for atoms in iread(str(path), ":"):
            number += 1
            yield f"{path}:{number}", from_atoms(atoms)
    except Exception as error:
        text = str(error) or type(error).__name__
        yield (
            f"{path}:{number + 1}",
            ValueError(f"ASE cannot read this structure: {type(error).__name__}: {text}"),
        )


def _matches(name: str, head: bytes) -> bool:
    if name.rpartition(".")[2] in _SUFFIXES:
        return True
    if find_spec("ase") is None or not head.strip():
        return False
    from ase.io.formats import ioformats

    # Not by other names: ASE would read a README.md as the output of CASTEP.
    return any(
        bool(each.magic) and each.match_magic(head)
        for key, each in ioformats.items()
        if each.can_read and key not in _NO_STRUCTURES
    )


FORMAT = Format(
    name="ASE",
    files="*.traj, *.pdb, *.xsf, *.gen, *.res, *.cell, *.cube, others by content",
    labels="results (eV, angstrom), info and arrays",
    matches=_matches,
    read=read_with_ase,
    requires="ase",
)
