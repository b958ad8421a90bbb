"""JSON lines: one structure a line.

A line is an object with ``atomic_numbers`` [N], ``positions`` [N][3] (Cartesian, angstrom) and, where the
structure is periodic, ``cell`` [3][3] (rows are the lattice vectors, angstrom); where given also ``pbc`` [3],
``targets`` (name to number, true or false, or nested list), ``extra`` (anything), and ``dataset``, ``index``,
``coords_stored``, which say where the structure comes from and are kept under ``extra``.
"""

import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mml_data.checks import check_sample
from mml_data.convert.files import existing_file, file_checksum
from mml_data.convert.targets import TargetKinds, target_kind
from mml_data.convert.write import Progress, write_dataset
from mml_data.manifest import Manifest

__all__ = ["import_jsonl", "read_jsonl"]

logger = logging.getLogger(__name__)

_ORIGIN_KEYS = ("dataset", "index", "coords_stored")
_KEYS = ("atomic_numbers", "positions", "cell", "pbc", "targets", "extra", *_ORIGIN_KEYS)


def import_jsonl(
    source: str | Path,
    dest: str | Path,
    *,
    splits: Sequence[float] = (0.8, 0.1, 0.1),
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress = False,
    allow_missing: bool = True,
) -> Manifest:
    """Make a data set at `dest` from a JSON-lines file, with a random split and statistics.

    The file is read line by line and never held in memory. Either all of the data set is written, or nothing.

    Parameters
    ----------
    source
        The file.
    dest
        Directory of the new data set.
    splits
        Shares of the training, validation and test split; they sum up to 1, the last two may be 0.
    seed
        Seed of the split.
    overwrite
        Replace the data set that is at `dest`.
    progress
        True logs every 10,000 structures; a function is called with the number of structures that are done.
    allow_missing
        Store a number or label that is null or NaN as NaN, and say so in the log, instead of refusing it.

    Returns
    -------
    Manifest
        What was written.

    Raises
    ------
    FileNotFoundError
        Where there is no such file.
    FileExistsError
        Where there is something at `dest`, see `LMDBWriter`.
    ValueError
        Where a line is not a structure (the message has its number), or there is none.
    """
    source = existing_file(source)
    kinds = TargetKinds(_target_kinds(source), allow_missing=allow_missing)
    manifest = write_dataset(
        read_jsonl(source, kinds),
        dest,
        source={"origin": source.name, "format": "JSON lines", "sha256": file_checksum(source)},
        splits=splits,
        seed=seed,
        overwrite=overwrite,
        progress=progress,
    )
    for name, count in kinds.missing.items():
        if count:
            logger.warning("%s: target %r is missing in %d structure(s), stored as NaN", source, name, count)
    return manifest


def read_jsonl(source: Path, kinds: TargetKinds) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each structure of a file as a sample, with its place (``file:line``).

    Raises
    ------
    ValueError
        Where a line is not a structure; the message starts with its place.
    """
    for place, line in _lines(source):
        try:
            sample = _to_sample(_parse(line), kinds)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{place}: {error}") from error
        yield place, sample


def _lines(source: Path) -> Iterator[tuple[str, bytes]]:
    with source.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield f"{source}:{number}", line


def _target_kinds(source: Path) -> dict[str, str]:
    """Kinds of the targets of the first structure; where one is null there, of the next that has it."""
    kinds: dict[str, str | None] | None = None
    for place, line in _lines(source):
        try:
            targets = _object(_parse(line), "targets")
            kinds = dict.fromkeys(targets) if kinds is None else kinds
            for name in [name for name, kind in kinds.items() if kind is None]:
                kinds[name] = _kind(name, targets.get(name))
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from error
        if None not in kinds.values():
            break
    if kinds is None:
        raise ValueError(f"there is no structure in {str(source)!r}: it is empty")
    for name, kind in kinds.items():
        if kind is None:
            raise ValueError(f"target {name!r} is null in every structure of {str(source)!r}: leave it out")
    return {name: kind for name, kind in kinds.items() if kind is not None}


def _kind(name: str, value: Any) -> str | None:
    try:
        return target_kind(value)
    except ValueError as error:
        raise ValueError(f"target {name!r} {error}") from error


def _parse(line: bytes) -> dict[str, Any]:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"this is not JSON, one object a line: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"a structure is a JSON object, this is a {type(content).__name__}")
    return content


def _to_sample(content: dict[str, Any], kinds: TargetKinds) -> dict[str, Any]:
    for key in content:
        if key not in _KEYS:
            raise ValueError(
                f"the key {key!r} is not known: labels belong under 'targets', all else under 'extra'"
            )
    for key in ("atomic_numbers", "positions"):
        if content.get(key) is None:
            raise ValueError(f"the structure has no {key!r}")
    sample = {
        "atomic_numbers": _array(content, "atomic_numbers"),
        "pos": _array(content, "positions").astype(np.float64),
        **_lattice(content),
    }
    targets = kinds.convert(_object(content, "targets"))
    if targets:
        sample |= {"targets": targets, "target_types": kinds.target_types}
    if extra := _extra(content):
        sample["extra"] = extra
    check_sample(sample)
    return sample | {"atomic_numbers": sample["atomic_numbers"].astype(np.uint8)}


def _lattice(content: dict[str, Any]) -> dict[str, Any]:
    """``cell`` [1, 3, 3] where there is one, and ``pbc`` [3]."""
    has_cell = content.get("cell") is not None
    given = content.get("pbc")
    flags = [has_cell] * 3 if given is None else given
    if not isinstance(flags, list) or len(flags) != 3 or not all(isinstance(flag, bool) for flag in flags):
        raise ValueError(f"'pbc' must be three of true and false, it is {given}")
    pbc = np.array(flags)
    if not has_cell:
        if pbc.any():
            raise ValueError(f"'pbc' is {given}, but there is no 'cell': give one, or no 'pbc'")
        return {"pbc": pbc}
    cell = _array(content, "cell").astype(np.float64)
    if cell.shape != (3, 3):
        raise ValueError(f"'cell' must be [3][3], the lattice vectors in rows; it is {list(cell.shape)}")
    if pbc.all() and np.isfinite(cell).all() and abs(np.linalg.det(cell)) < 1e-6:
        raise ValueError(f"'cell' has no volume: {cell.tolist()}")
    return {"cell": cell[None], "pbc": pbc}


def _array(content: dict[str, Any], key: str) -> np.ndarray:
    try:
        array = np.array(content[key])
    except ValueError as error:
        raise ValueError(f"{key!r} has rows of different lengths") from error
    if array.dtype.kind not in "iuf":
        raise ValueError(f"{key!r} must hold numbers only")
    return array


def _object(content: dict[str, Any], key: str) -> dict[str, Any]:
    value = content.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{key!r} must be an object, it is a {type(value).__name__}")
    return value


def _extra(content: dict[str, Any]) -> dict[str, Any]:
    extra = dict(_object(content, "extra"))
    for key in _ORIGIN_KEYS:
        if key in content:
            if key in extra and extra[key] != content[key]:
                raise ValueError(
                    f"{key!r} is {content[key]!r}, but {extra[key]!r} under 'extra': leave one out"
                )
            extra[key] = content[key]
    return extra
