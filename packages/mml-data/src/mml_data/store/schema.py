"""Collect the keys of a data set, with their dtypes and shapes, sample by sample."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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
"""Units of the keys that the sample contract defines."""

_PER_STRUCTURE = {"cell", "pbc", "lattice_params", "lattice_features", "targets.stress"}


Sizes = list[set[int | str]]
"""Possible meanings of each dimension of an array: its size, or ``"N"``, the number of atoms."""


@dataclass
class _Known:
    """Dtypes and shape of the values of a key. The shape is None unless all are arrays of one rank."""

    dtypes: set[str]
    shape: Sizes | None


class SchemaBuilder:
    """Builder that collects the schema of samples.

    Parameters
    ----------
    units
        Units of further keys, such as ``{"targets.band_gap": "eV"}``. They take precedence over `UNITS`.
    """

    def __init__(self, units: Mapping[str, str] | None = None) -> None:
        self.units = {**UNITS, **(units or {})}
        self._keys: dict[str, _Known] = {}
        # Keys, dtypes and shapes of a sample to the number of samples with the same ones. Most samples of a
        # data set are like an earlier sample.
        self._alike: dict[Any, int] = {}

    def add(self, sample: Mapping[str, object], num_atoms: int) -> None:
        """Add one decoded sample with `num_atoms` atoms."""
        looks = (num_atoms, *_looks(sample))
        alike = self._alike.get(looks, 0)
        self._alike[looks] = alike + 1
        if not alike:
            self._add(sample, num_atoms)

    def _add(self, sample: Mapping[str, object], num_atoms: int) -> None:
        for key, value in _leaves(sample):
            if isinstance(value, np.ndarray):
                dtype, shape = value.dtype.name, _shape(key, value.shape, num_atoms)
            else:
                dtype, shape = type(value).__name__, None
            known = self._keys.setdefault(key, _Known(set(), shape))
            known.dtypes.add(dtype)
            known.shape = _merge(known.shape, shape)

    def merge(self, other: "SchemaBuilder") -> None:
        """Add the samples that `other` has collected."""
        for key, theirs in other._keys.items():
            known = self._keys.get(key)
            if known is None:
                self._keys[key] = theirs
                continue
            known.dtypes |= theirs.dtypes
            known.shape = _merge(known.shape, theirs.shape)
        for looks, alike in other._alike.items():
            self._alike[looks] = self._alike.get(looks, 0) + alike

    def result(self) -> dict[str, dict[str, object]]:
        """Return the schema so far. See `mml_data.Manifest`. Several dtypes are joined by ``|``."""
        samples: Counter[str] = Counter()
        for looks, alike in self._alike.items():
            samples.update({looks[index]: alike for index in range(1, len(looks), 2)})
        return {
            key: {
                "dtype": "|".join(sorted(known.dtypes)),
                "shape": None if known.shape is None else [_public(size) for size in known.shape],
                "units": self.units.get(key),
                "samples": samples[key],
            }
            for key, known in self._keys.items()
        }


def _looks(sample: Mapping[str, object], prefix: str = "") -> Iterator[Any]:
    """Yield every key, followed by the dtype and shape of its array or by the type of its value."""
    for name, value in sample.items():
        kind = type(value)
        if isinstance(value, np.ndarray):
            yield prefix + name
            yield value.dtype, value.shape
        elif isinstance(value, dict) and name != "target_types":
            yield from _looks(value, f"{prefix}{name}.")
        else:
            yield prefix + name
            yield kind


def _leaves(sample: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in sample.items():
        if isinstance(value, Mapping) and name != "target_types":
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _shape(key: str, shape: tuple[int, ...], num_atoms: int) -> Sizes:
    """Return the possible meanings of each dimension: its size, and N for a first size of `num_atoms`."""
    sizes: Sizes = [{size} for size in shape]
    if shape and shape[0] == num_atoms and key not in _PER_STRUCTURE:
        sizes[0].add("N")
    return sizes


def _merge(left: Sizes | None, right: Sizes | None) -> Sizes | None:
    if left is None or right is None or len(left) != len(right):
        return None
    return [a & b for a, b in zip(left, right, strict=True)]


def _public(sizes: set[int | str]) -> int | str | None:
    """Return the common meaning of a dimension in all samples: ``"N"``, a size, or None.

    ``"N"`` takes precedence, except over a size of 1.
    """
    if "N" in sizes and 1 not in sizes:
        return "N"
    return next((size for size in sizes if size != "N"), None)
