"""Check, read, write and draw splits of a data set."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mml_data.store.manifest import FileEntry

__all__ = ["check_splits", "random_split", "read_numbers", "write_numbers", "write_split"]


def check_splits(splits: Mapping[str, Sequence[int] | np.ndarray]) -> dict[str, np.ndarray]:
    """Check splits and return them as int64 arrays.

    Raises
    ------
    TypeError
        If indices are not integers.
    ValueError
        If a split is empty, contains a negative index or an index twice, shares an index with another split,
        or has an invalid name.
    """
    checked: dict[str, np.ndarray] = {}
    for name, given in splits.items():
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name) or name == "all":
            raise ValueError(f"invalid name {name!r} of a split; use letters, digits, - and _, but not 'all'")
        indices = np.asarray(given)
        if indices.size == 0 or indices.ndim != 1:
            raise ValueError(
                f"split {name!r} must be a list of at least one index, got shape {list(indices.shape)}"
            )
        if indices.dtype.kind not in "iu":
            raise TypeError(f"split {name!r} must contain integers, got {indices.dtype}")
        if indices.min() < 0:
            raise ValueError(f"indices of split {name!r} must be at least 0, got {indices.min()}")
        values, counts = np.unique(indices, return_counts=True)
        if (counts > 1).any():
            raise ValueError(f"split {name!r} contains the index {values[counts > 1][0]} more than once")
        for other, taken in checked.items():
            if (shared := np.intersect1d(taken, indices)).size:
                raise ValueError(
                    f"splits {other!r} and {name!r} must be disjoint, but they share {shared.size} indices, "
                    f"for example {shared[0]}"
                )
        checked[name] = indices.astype(np.int64)
    return checked


def write_split(directory: Path, name: str, indices: np.ndarray) -> FileEntry:
    """Write the file ``split-<name>.npy`` into `directory`. See `write_numbers`."""
    return write_numbers(directory, f"split-{name}.npy", indices)


def write_numbers(directory: Path, file: str, numbers: np.ndarray) -> FileEntry:
    """Write integers as a ``.npy`` file into `directory`, and return its manifest entry.

    The numbers are stored as little-endian int64, without pickle.
    """
    numbers = numbers.astype("<i8")
    np.save(directory / file, numbers, allow_pickle=False)
    return FileEntry(file, int(numbers.size), hashlib.sha256(numbers.tobytes()).hexdigest())


def read_numbers(directory: Path, entry: FileEntry, *, check: bool = False) -> np.ndarray:
    """Open a file written by `write_numbers` as a memory-mapped array of shape [entry.count].

    Parameters
    ----------
    directory
        Directory of the file.
    entry
        Manifest entry of the file.
    check
        Whether to compare the content with the checksum of the manifest.

    Raises
    ------
    ValueError
        If the file is missing, or if it is not the file that the manifest describes.
    """
    file = directory / entry.file
    try:
        indices = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"file {str(file)!r} is missing or damaged: {error}") from error
    if not isinstance(indices, np.ndarray):  # numpy opens a zip archive as a set of several arrays
        indices.close()
        raise ValueError(f"file {str(file)!r} must be an array, got a zip archive")
    if indices.dtype != np.dtype("<i8") or indices.shape != (entry.count,):
        raise ValueError(
            f"file {str(file)!r} must be [{entry.count}] int64, got {list(indices.shape)} {indices.dtype}"
        )
    if check and hashlib.sha256(indices.tobytes()).hexdigest() != entry.sha256:
        raise ValueError(f"file {str(file)!r} does not match its checksum in the manifest")
    return indices


def random_split(
    indices: np.ndarray, fractions: Mapping[str, float], seed: int, *, rest: str = "train"
) -> dict[str, np.ndarray]:
    """Split `indices` at random into one part for each fraction and a part with the rest.

    Parameters
    ----------
    indices
        Indices to split, [n] int64.
    fractions
        Name of a part to its fraction of `indices`. Each fraction is above 0 and below 1, and so is their
        sum.
    seed
        Seed of the permutation. The same arguments always give the same parts.
    rest
        Name of the part with the rest.

    Returns
    -------
    dict
        Name of a part to its sorted indices. A part has ``round(fraction * n)`` indices. `rest` has all
        indices that are not in another part.

    Raises
    ------
    ValueError
        If a fraction is out of range, if the fractions sum to 1 or more, or if a part would be empty.
    """
    for name, fraction in fractions.items():
        if not 0 < fraction < 1:
            raise ValueError(f"the fraction for {name!r} must be above 0 and below 1, got {fraction}")
    if sum(fractions.values()) >= 1:
        terms = " + ".join(f"{fraction} ({name})" for name, fraction in fractions.items())
        raise ValueError(f"the fractions must sum to less than 1, got {terms}")
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(indices))
    parts: dict[str, np.ndarray] = {}
    start = 0
    for name, fraction in fractions.items():
        size = round(fraction * len(indices))
        parts[name] = np.sort(np.asarray(indices)[order[start : start + size]])
        start += size
    parts = {rest: np.sort(np.asarray(indices)[order[start:]]), **parts}
    for name, part in parts.items():
        if part.size == 0:
            raise ValueError(
                f"split {name!r} would be empty, because {len(indices)} samples are too few for the "
                f"fractions {dict(fractions)}; use other fractions (--splits)"
            )
    return parts
