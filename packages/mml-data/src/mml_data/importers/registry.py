"""Find the format of a file.

Another package adds a format with an entry point in the group ``mml_data.importers``, whose value is a
`mml_data.importers.formats.Format`::

    [project.entry-points."mml_data.importers"]
    my_format = "my_package.reader:FORMAT"

Formats of other packages come before the built-in ones.
"""

from collections.abc import Iterator
from functools import cache
from importlib.metadata import entry_points

from mml_data.importers.formats import Format
from mml_data.importers.readers import (
    ase_database,
    ase_file,
    ase_json,
    cif,
    csv_structures,
    deepmd,
    dpdata_json,
    extended_xyz,
    hdf5,
    json_formats,
    json_lines,
    mtp_cfg,
    npz,
    parquet,
    poscar,
    qm9_xyz,
    vasp_outcar,
    vasp_run,
    vasp_xdatcar,
    vasp_xml,
)

__all__ = ["GROUP", "find_format", "format_named", "known_formats"]

GROUP = "mml_data.importers"
"""Group of the entry points of further formats."""

_BUILT_IN = (
    vasp_run.FORMAT,
    deepmd.FORMAT,
    ase_database.FORMAT,
    extended_xyz.FORMAT,
    qm9_xyz.FORMAT,
    json_lines.FORMAT,
    cif.FORMAT,
    vasp_xml.FORMAT,
    vasp_outcar.FORMAT,
    vasp_xdatcar.FORMAT,
    poscar.FORMAT,
    *json_formats.FORMATS,
    ase_json.FORMAT,
    dpdata_json.FORMAT,
    csv_structures.FORMAT,
    parquet.FORMAT,
    npz.FORMAT,
    hdf5.FORMAT,
    mtp_cfg.FORMAT,
    ase_file.FORMAT,
)


@cache
def known_formats() -> tuple[Format, ...]:
    """Return all formats: those of other packages, then the built-in ones.

    Raises
    ------
    TypeError
        If an entry point is not a `Format`.
    """
    return (*_from_entry_points(), *_BUILT_IN)


def _from_entry_points() -> Iterator[Format]:
    for entry in entry_points(group=GROUP):
        found = entry.load()
        if not isinstance(found, Format):
            raise TypeError(
                f"the entry point {entry.name!r} of the group {GROUP!r} must be a Format, got "
                f"{type(found).__name__} from {entry.value!r}"
            )
        yield found


def find_format(name: str, head: bytes) -> Format | None:
    """Return the format of a file, or None if no format matches.

    Parameters
    ----------
    name
        Name of the file without the suffix of a compression.
    head
        First 64 kB of the decompressed content.
    """
    lower = name.lower()
    return next((each for each in known_formats() if each.matches(lower, head)), None)


def format_named(name: str) -> Format | None:
    """Return the format with a name, in upper or lower case, or None."""
    return next((each for each in known_formats() if each.name.lower() == name.lower()), None)
