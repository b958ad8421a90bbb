"""Collect the keys of a data set, with their kinds, dtypes and shapes, sample by sample."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from mml_samples import QUANTITIES, Kind

__all__ = ["UNITS", "KindConflict", "SchemaBuilder", "looks"]

UNITS = {
    "pos": "angstrom",
    "cell": "angstrom",
    "lattice_params": "angstrom, radian",
    "lattice_features": "angstrom, radian",
    "charge": "e",
    "magmom": "Bohr magneton",
    **{f"targets.{name}": quantity.unit for name, quantity in QUANTITIES.items() if quantity.unit},
}
"""Units of the keys that the sample contract defines."""

_PER_STRUCTURE = {"cell", "pbc", "lattice_params", "lattice_features", "targets.stress"}
_TARGETS = "targets."

Sizes = list[set[int | str]]
"""Possible meanings of each dimension of an array: its size, or ``"N"``, the number of atoms."""

Meaning = tuple[str, tuple[int, ...]]
"""Possible meaning of a target (``"number"``, ``"class"``, ``"atom"`` or ``"structure"``), and its row."""


class KindConflict(ValueError):  # noqa: N818
    """Error of a data set in which a target has different kinds in two samples."""


@dataclass
class _Known:
    """Dtypes and shape of the values of a key. The shape is None unless all are arrays of one rank."""

    dtypes: set[str]
    shape: Sizes | None


@dataclass
class _Form:
    """Form of a target in some samples: its possible meanings, and the index of the first such sample."""

    meanings: frozenset[Meaning]
    first: int
    shown: str
    is_raw: bool = False


@dataclass
class _Target:
    """Evidence on the kind of a target."""

    forms: dict[Any, _Form] = field(default_factory=dict)


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
        self._targets: dict[str, _Target] = {}
        # Keys, dtypes and shapes of a sample to the number of samples with the same ones. Most samples of a
        # data set are like an earlier sample.
        self._alike: dict[Any, int] = {}
        self._count = 0
        self._forms: dict[Hashable, Any] = {}

    def add(
        self,
        sample: Mapping[str, object],
        num_atoms: int,
        index: int | None = None,
        form: Hashable | None = None,
    ) -> None:
        """Add one decoded sample with `num_atoms` atoms.

        Parameters
        ----------
        sample, num_atoms
            Sample, and its number of atoms.
        index
            Index of the sample in the whole data set. Default: the number of samples so far.
        form
            Value that determines the keys, dtypes and shapes, for `repeat`.
        """
        seen = (num_atoms, *looks(sample))
        alike = self._alike.get(seen, 0)
        self._alike[seen] = alike + 1
        if not alike:
            self._add(sample, num_atoms, self._count if index is None else index)
        self._count += 1
        if form is not None:
            self._forms[form] = seen

    def repeat(self, form: Hashable) -> bool:
        """Add a sample of the same form as an earlier one. Return False if there is no earlier one."""
        seen = self._forms.get(form)
        if seen is None:
            return False
        self._alike[seen] += 1
        self._count += 1
        return True

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_forms": {}}

    def _add(self, sample: Mapping[str, object], num_atoms: int, index: int) -> None:
        for key, value in _leaves(sample):
            if isinstance(value, np.ndarray):
                dtype, shape = value.dtype.name, _shape(key, value.shape, num_atoms)
            else:
                dtype, shape = type(value).__name__, None
            known = self._keys.setdefault(key, _Known(set(), shape))
            known.dtypes.add(dtype)
            known.shape = _merge(known.shape, shape)
        targets = sample.get("targets")
        if isinstance(targets, Mapping):
            for name, value in targets.items():
                form = _form(value, num_atoms, index)
                forms = self._targets.setdefault(name, _Target()).forms
                forms.setdefault((form.meanings, form.is_raw), form)

    def merge(self, other: "SchemaBuilder") -> None:
        """Add the samples that `other` has collected."""
        for key, theirs in other._keys.items():
            known = self._keys.get(key)
            if known is None:
                self._keys[key] = theirs
                continue
            known.dtypes |= theirs.dtypes
            known.shape = _merge(known.shape, theirs.shape)
        for name, target in other._targets.items():
            forms = self._targets.setdefault(name, _Target()).forms
            for key_of_form, form in target.forms.items():
                mine = forms.setdefault(key_of_form, form)
                mine.first = min(mine.first, form.first)
        for seen, alike in other._alike.items():
            self._alike[seen] = self._alike.get(seen, 0) + alike
        self._count += other._count

    def result(
        self,
        *,
        classes: Mapping[str, list[int | str] | None] | None = None,
        name_of: Callable[[int], str] | None = None,
    ) -> dict[str, dict[str, object]]:
        """Return the schema so far. See `mml_data.Manifest`. Several dtypes are joined by ``|``.

        Parameters
        ----------
        classes
            Targets that are classes. The values are all classes in the order of their numbers, or None if
            the targets are stored as these numbers.
        name_of
            Function from the index of a sample to its name for messages. If it is given, a target that has
            different kinds in two samples raises an error.

        Raises
        ------
        KindConflict
            If a target has different kinds in two samples.
        """
        samples: Counter[str] = Counter()
        for seen, alike in self._alike.items():
            samples.update({seen[index]: alike for index in range(1, len(seen), 2)})
        result: dict[str, dict[str, object]] = {}
        for key in sorted(self._keys, key=_order):
            known = self._keys[key]
            result[key] = {
                "dtype": "|".join(sorted(known.dtypes)),
                "shape": None if known.shape is None else [_public(size) for size in known.shape],
                "units": self.units.get(key),
                "samples": samples[key],
            }
            name = key.removeprefix(_TARGETS)
            if key.startswith(_TARGETS) and name in self._targets:
                result[key] |= self._kind(name, classes or {}, name_of)
        return result

    def _kind(
        self,
        name: str,
        classes: Mapping[str, list[int | str] | None],
        name_of: Callable[[int], str] | None,
    ) -> dict[str, object]:
        """Return the kind of a target, and the shape that follows from it."""
        forms = sorted(self._targets[name].forms.values(), key=lambda form: form.first)
        quantity = QUANTITIES.get(name)
        meanings = forms[0].meanings
        for form in forms[1:]:
            if not meanings & form.meanings:
                if name_of is None:
                    return {}
                other = next((each for each in forms if not each.meanings & form.meanings), forms[0])
                raise KindConflict(
                    f"target {name!r} is {other.shown} in {name_of(other.first)}, but {form.shown} in "
                    f"{name_of(form.first)}; correct one of them, or import other targets (--targets)"
                )
            meanings &= form.meanings
        owner, row = _choose(meanings, None if quantity is None else quantity.kind)
        is_class = name in classes
        kind: Kind
        shape: list[int | str] | None = ["N", *row] if owner == "atom" else [1, *row]
        if owner in ("number", "class"):
            kind, shape = "scalar", None
        elif owner == "atom":
            kind = "per_atom"
        else:
            kind = "vector" if row == (3,) else "spectrum" if len(row) == 1 else "tensor"
        if quantity is not None and owner == "structure" and not is_class:
            kind = quantity.kind if quantity.kind in ("vector", "tensor", "spectrum") else kind
        found: dict[str, object] = {"kind": "class" if is_class else kind}
        if shape is not None:
            found["shape"] = shape
        if quantity is not None and quantity.extensive:
            found["extensive"] = True
        if (values := classes.get(name)) is not None:
            found["class_names"] = values
        if owner == "structure" and any(form.is_raw for form in forms):
            found["rows"] = "implied"
        return found


def _form(value: object, num_atoms: int, index: int) -> _Form:
    """Return the form of a target in one sample."""
    array = value if isinstance(value, np.ndarray) else np.asarray(value)
    shape: tuple[int, ...] = array.shape
    if shape in ((), (1,)):
        is_class = array.dtype.kind in "biuU"
        meanings: set[Meaning] = {("class" if is_class else "number", ())}
        if shape == (1,) and num_atoms == 1:
            meanings.add(("atom", ()))
        return _Form(frozenset(meanings), index, "a class" if is_class else "a number")
    meanings = set()
    if shape[0] == num_atoms:
        meanings |= {("atom", shape[1:]), ("structure", shape)}
    if shape[0] == 1:
        meanings.add(("structure", shape[1:]))
    shown = f"an array {list(shape)} for {num_atoms} atom{'s' * (num_atoms != 1)}"
    return _Form(frozenset(meanings), index, shown, is_raw=shape[0] != 1)


def _choose(meanings: frozenset[Meaning], kind: Kind | None) -> Meaning:
    """Choose one of several possible meanings: the one that fits the name, or else one row for each atom."""
    wanted = "structure" if kind in ("vector", "tensor", "spectrum") else "atom"
    return min(meanings, key=lambda meaning: (meaning[0] != wanted, len(meaning[1]), meaning))


def _order(key: str) -> tuple[int, str]:
    """Return the position of a key: structure first, then targets, other keys and extra values."""
    first = ("atomic_numbers", "pos", "cell", "pbc")
    if key in first:
        return first.index(key), ""
    return (len(first) if key.startswith(_TARGETS) else len(first) + 1 + key.startswith("extra.")), key


def looks(sample: Mapping[str, object], prefix: str = "") -> Iterator[Any]:
    """Yield every key, followed by the dtype and shape of its array or by the type of its value."""
    for name, value in sample.items():
        kind = type(value)
        if isinstance(value, np.ndarray):
            yield prefix + name
            yield value.dtype, value.shape
        elif isinstance(value, dict) and name != "target_types":
            yield from looks(value, f"{prefix}{name}.")
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
