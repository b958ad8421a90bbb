"""Read CIF files with pymatgen, block by block.

A block whose structure would be wrong is an error: if a site is occupied partially or by several elements,
or if pymatgen finds other elements or another stoichiometry than the formula of the block. Other warnings of
pymatgen are kept with the structure.
"""

import re
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from mml_data.importers.formats import Format
from mml_data.importers.source import Item, Structure
from mml_data.importers.structure import from_pymatgen

__all__ = ["FORMAT", "read_cif"]

_BLOCK = re.compile(r"(?im)^(?=data_\S*)")
_NAME = re.compile(r"(?i)data_(\S*)")
_WRONG = re.compile(r"(?i)incorrect stoichiometry|missing elements|occupanc")
_DEUTERIUM = re.compile(r"(?m)^\s*\S+\s+D\d*[+-]?\s")


def read_cif(path: Path) -> Iterator[Item]:
    """Yield the structures of the blocks of a file that have atoms.

    Raises
    ------
    ImportError
        If pymatgen is not installed.
    """
    if find_spec("pymatgen") is None:
        raise ImportError(
            f"reading {str(path)!r} requires pymatgen, which is not installed: pip install "
            "'mml-data[pymatgen]'"
        )
    content = path.read_bytes()
    text = content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace").replace("\r\n", "\n")
    blocks = [block for block in _BLOCK.split(text) if _NAME.match(block)]
    with_atoms = [block for block in blocks if "_atom_site_" in block.lower()]
    others = [f"the block {_name(block)!r} has no atoms" for block in blocks if block not in with_atoms]
    if not with_atoms:
        yield str(path), ValueError(f"no block has atoms (_atom_site_fract_x ...), of {len(blocks)} blocks")
    for number, block in enumerate(with_atoms):
        place = str(path) if len(with_atoms) == 1 else f"{path}:{_name(block)}"
        try:
            structure = _structure(block)
        except (ValueError, KeyError, IndexError, TypeError, AssertionError) as error:
            yield place, ValueError(_reason(error))
            continue
        if number == 0 and others:
            structure["warnings"] = [*structure.get("warnings", ()), *others]
        yield place, structure


def _name(block: str) -> str:
    found = _NAME.match(block)
    return found[1] if found else ""


def _structure(block: str) -> Structure:
    from pymatgen.io.cif import CifParser

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        (parsed,) = CifParser.from_str(block).parse_structures(primitive=False, on_error="raise")
    texts = list(dict.fromkeys(" ".join(str(each.message).split()) for each in caught))
    structure = from_pymatgen(parsed)  # before the warnings: it names the elements of a disordered site
    if wrong := [text for text in texts if _WRONG.search(text)]:
        raise ValueError(
            f"the structure is not that of the file: {'; '.join(wrong)}; complete the atoms of the file, "
            "write coordinates such as 1/3 with at least five digits, or correct the formula"
        )
    if _DEUTERIUM.search(block):
        texts.append("the isotope D is imported as H")
    extra = {**structure.get("extra", {}), "block": _name(block)}
    return structure | {"extra": extra} | ({"warnings": texts} if texts else {})


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"the key {error} is missing"
    text = str(error).strip() or type(error).__name__
    return re.sub(r"^No structure parsed for section \d+ in CIF\.\n", "", text)


def _matches(name: str, head: bytes) -> bool:
    start = head.removeprefix(b"\xef\xbb\xbf")
    is_cif = re.search(rb"(?im)^data_", start) is not None and b"_cell_length_a" in start.lower()
    return name.endswith((".cif", ".mcif")) or is_cif


FORMAT = Format(
    name="CIF",
    files="*.cif, *.mcif",
    labels="none; they are joined from a table (--labels)",
    matches=_matches,
    read=read_cif,
    requires="pymatgen",
    catches_warnings=False,
)
