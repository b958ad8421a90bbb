"""Find out, sample by sample, which keys a data set has, and their dtypes and shapes."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

__all__ = ["UNITS", "SchemaBuilder"]

UNITS = {
    "pos": "angstrom",
    "cell": "angstrom",
    "lattice_params": "angstrom, radian",
    "lattice_features": "angstrom, radian",
    "targets.energy": "eV",
    "targets.force": "eV/angstrom",
    "targets.stress": "eV/angstrom^3",
}
"""Units of the keys that the sample contract fixes."""

_PER_STRUCTURE = {"cell", "pbc", "lattice_params", "lattice_features", "targets.stress"}


class SchemaBuilder:
    """Collects the schema of the samples that are shown to it.

    Parameters
    ----------
    units
        Units of further keys, such as ``{"targets.band_gap": "eV"}``; they go before `UNITS`.
    """

    def __init__(self, units: Mapping[str, str] | None = None) -> None:
        self.units = {**UNITS, **(units or {})}
        self._keys: dict[str, dict[str, Any]] = {}
        # What samples look like, and how many look so: most samples of a data set look like one before.
        self._alike: dict[Any, int] = {}

    def add(self, sample: Mapping[str, Any], natoms: int) -> None:
        """Take in one decoded sample of `natoms` atoms."""
        looks = (natoms, *_looks(sample))
        alike = self._alike.get(looks, 0)
        self._alike[looks] = alike + 1
        if not alike:
            self._add(sample, natoms)

    def _add(self, sample: Mapping[str, Any], natoms: int) -> None:
        for key, value in _leaves(sample):
            is_array = isinstance(value, np.ndarray)
            dtype = value.dtype.name if is_array else type(value).__name__
            shape = _shape(key, value.shape, natoms) if is_array else None
            known = self._keys.setdefault(key, {"dtypes": set(), "shape": shape})
            known["dtypes"].add(dtype)
            known["shape"] = _merge(known["shape"], shape)

    def merge(self, other: "SchemaBuilder") -> None:
        """Take in what `other` has seen."""
        for key, theirs in other._keys.items():
            known = self._keys.get(key)
            if known is None:
                self._keys[key] = theirs
                continue
            known["dtypes"] |= theirs["dtypes"]
            known["shape"] = _merge(known["shape"], theirs["shape"])
        for looks, alike in other._alike.items():
            self._alike[looks] = self._alike.get(looks, 0) + alike

    def result(self) -> dict[str, dict[str, Any]]:
        """Return the schema so far, see `mml_data.manifest.Manifest`; several dtypes are joined by ``|``."""
        samples: Counter[str] = Counter()
        for looks, alike in self._alike.items():
            samples.update({looks[index]: alike for index in range(1, len(looks), 2)})
        return {
            key: {
                "dtype": "|".join(sorted(known["dtypes"])),
                "shape": None if known["shape"] is None else [_public(size) for size in known["shape"]],
                "units": self.units.get(key),
                "samples": samples[key],
            }
            for key, known in self._keys.items()
        }


def _looks(sample: Mapping[str, Any], prefix: str = "") -> Iterator[Any]:
    """Yield every key, each followed by the dtype and shape or the type of what is there."""
    for name, value in sample.items():
        kind = type(value)
        if kind is np.ndarray:
            yield prefix + name
            yield value.dtype, value.shape
        elif kind is dict and name != "target_types":
            yield from _looks(value, f"{prefix}{name}.")
        else:
            yield prefix + name
            yield kind


def _leaves(sample: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in sample.items():
        if isinstance(value, Mapping) and name != "target_types":
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _shape(key: str, shape: tuple[int, ...], natoms: int) -> list[set[Any]]:
    """Return what each dimension may stand for: its size, and N if the first one is the number of atoms."""
    sizes: list[set[Any]] = [{size} for size in shape]
    if shape and shape[0] == natoms and key not in _PER_STRUCTURE:
        sizes[0].add("N")
    return sizes


def _merge(left: list[set[Any]] | None, right: list[set[Any]] | None) -> list[set[Any]] | None:
    if left is None or right is None or len(left) != len(right):
        return None
    return [a & b for a, b in zip(left, right, strict=True)]


def _public(sizes: set[Any]) -> int | str | None:
    """Return N where every sample agreed on it (but 1 where each had one row), a number, or None."""
    if "N" in sizes and 1 not in sizes:
        return "N"
    return next((size for size in sizes if size != "N"), None)
