"""Decide which samples of a data set stay together in a split."""

import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from sys import intern
from typing import Any, NamedTuple, TypeVar

import numpy as np

from mml_data.grouping import Group, grouping

__all__ = ["BLOCKS", "Groups", "find_groups"]

Value = TypeVar("Value")
ForEach = Callable[[Callable[[Mapping[str, object]], Value]], Iterable[Value]]
"""Function that calls a function with each sample and returns the results in order."""

BLOCKS = 20
"""Number of blocks of consecutive samples with ``"block"``."""

_IDS = (
    *("mp_id", "mp-id", "mpid", "material_id", "mat_id", "jid", "sid", "system_id"),
    *("molecule", "trajectory", "trajectory_id", "traj_id", "original_mp_id", "provenance.original_mp_id"),
)
"""Keys under ``extra`` that name the material or trajectory of a frame."""

_TOPS = frozenset(key.partition(".")[0] for key in _IDS)

_COLLECTIONS = (".db", ".aselmdb", ".lmdb", ".parquet")
"""Suffixes of files that contain unrelated structures, so that the file is not a group."""

_SIMILAR = 0.9
"""Share of structures with the same atoms as the previous structure from which a file is a trajectory."""


@dataclass(frozen=True)
class Groups:
    """Groups of the samples of a data set.

    Attributes
    ----------
    names
        Name of the group of each sample. None if each sample is a group.
    by
        Criterion, for the manifest: ``"frame"``, ``"block"``, or the name or key of `grouping`.
    note
        Sentence for the user, or an empty string.
    """

    names: list[str] | None
    by: str
    note: str = ""


class _Origin(NamedTuple):
    """Values of a sample from which its default group follows."""

    source: str | None
    key: str
    id: str | None
    atoms: int
    """Checksum of the atomic numbers."""


def find_groups(by: str | Group | None, count: int, each: ForEach[Any]) -> Groups:
    """Find the groups of samples that stay in the same split.

    By default, these are the frames with the same identifier of a material or trajectory (for example
    ``extra.mp_id``), if an identifier occurs several times. Otherwise, these are the frames of the same file
    (``extra.source``), if there are several files. Files of databases are not groups.

    Parameters
    ----------
    by
        ``"frame"`` for single samples, ``"source"`` for the files, ``"block"`` for 20 blocks of consecutive
        samples, any criterion of `mml_data.grouping.grouping`, or None for the default.
    count
        Number of samples.
    each
        Function that calls a function with each sample and returns the results in order.

    Raises
    ------
    ValueError
        If a sample does not have the key.
    """
    if by == "frame":
        return Groups(None, "frame")
    if by == "block":
        return Groups([str(index * BLOCKS // count) for index in range(count)], "block")
    if by is not None:
        named = by if isinstance(by, str) else getattr(by, "__name__", "custom")
        return Groups(list(map(intern, each(grouping("extra.source" if by == "source" else by)))), named)
    return _default(each(_origin))


def _default(origins: Iterable[_Origin]) -> Groups:
    # A few bytes for each sample, because a data set can have many millions of samples.
    sources: list[str | None] = []
    ids: list[str | None] = []
    key, repeated, previous = "", 0, -1
    for origin in origins:
        sources.append(None if origin.source is None else intern(origin.source))
        ids.append(None if origin.id is None else intern(origin.id))
        key = key or origin.key
        repeated += origin.atoms == previous
        previous = origin.atoms
    if (count := _repeating(ids)) > 1:
        return Groups(_named(ids, sources), key, _sentence(key, count))
    if (count := _repeating(sources)) > 1:
        return Groups(_named(sources), "extra.source", _sentence("extra.source", count))
    is_one_file = len(set(sources)) == 1 and sources[0] is not None
    if is_one_file and len(sources) > 2 and repeated >= _SIMILAR * (len(sources) - 1):
        return Groups(
            None,
            "frame",
            "consecutive structures have the same atoms, as in a trajectory, and similar frames in two "
            "splits make a model look better than it is; --split-by block keeps blocks of consecutive "
            "frames together, and --train, --valid and --test take a file for each split",
        )
    return Groups(None, "frame")


def _repeating(names: list[str | None]) -> int:
    """Return the number of different names if a name occurs several times, otherwise 0."""
    counts = Counter(name for name in names if name is not None)
    return len(counts) if max(counts.values(), default=0) > 1 else 0


def _named(names: list[str | None], others: list[str | None] | None = None) -> list[str]:
    """Return the names of the groups. A sample without a name is a group."""
    return [
        name or (others[index] if others is not None else None) or f"(sample {index})"
        for index, name in enumerate(names)
    ]


def _sentence(key: str, count: int) -> str:
    return (
        f"frames with the same {key} ({count:,} values) are in the same split; --split-by frame splits "
        "single frames"
    )


def _origin(sample: Mapping[str, object]) -> _Origin:
    extra = sample.get("extra")
    extra = extra if isinstance(extra, Mapping) else {}
    source = extra.get("source")
    source = None if source is None or str(source).lower().endswith(_COLLECTIONS) else intern(str(source))
    key, found = _identifier(extra, sample.get("sample_id"))
    return _shared_origin(source, key, found, zlib.crc32(np.asarray(sample["atomic_numbers"]).tobytes()))


@lru_cache(1024)  # frames of a trajectory share one object, so that millions of them take little memory
def _shared_origin(source: str | None, key: str, identifier: str | None, atoms: int) -> _Origin:
    return _Origin(source, key, identifier, atoms)


def _identifier(extra: Mapping[str, Any], sample_id: object) -> tuple[str, str | None]:
    """Return the key and the text of the identifier of a material or trajectory."""
    for key in () if _TOPS.isdisjoint(extra) else _IDS:
        value: Any = extra
        for name in key.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        if isinstance(value, str | int) and not isinstance(value, bool):
            return f"extra.{key}", intern(str(value))
    # Frames of the Materials Project have names such as mp-1234-0-5, of which mp-1234 is the material.
    words = str(sample_id).split("-")
    if len(words) > 2 and words[0] in ("mp", "mvc") and words[1].isdigit():
        return "sample_id", intern(f"{words[0]}-{words[1]}")
    return "", None
