"""Compute statistics of targets and structures in float64, in one streaming pass.

Partial results can be merged.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from mml_samples import SYMBOLS, Moments, ReferenceFit, count_elements
from mml_samples.bin_moments import BinMoments

__all__ = ["DatasetStatistics", "is_energy"]

_BLOCK = 256


def is_energy(target: str) -> bool:
    """Return whether a target of this name is a total energy, which can be written as a sum over elements."""
    name = target.lower()
    return "energy" in name and "per_atom" not in name and "hull" not in name


class DatasetStatistics:
    """Statistics of a stream of samples.

    The result has ``count`` (number of samples), ``natoms`` (``min``, ``mean``, ``max``), ``elements``
    (number of atoms of each element, by symbol) and ``targets``.

    A numeric target has ``mean``, ``std``, ``rms``, ``min``, ``max`` and ``count`` over all its components,
    in the units in which it is stored. A target with one number per structure also has ``per_atom_mean`` and
    ``per_atom_std``, computed from the value divided by the number of atoms. If its name identifies it as an
    energy, it also has ``reference_energies`` by symbol, ``reference_rank`` and ``per_atom_residual_std``
    (see `mml_samples.ReferenceFit`), and ``isolated_atom_energies`` by symbol if the data set contains free
    atoms: structures of one atom without periodic directions, or with ``extra.config_type`` IsolatedAtom.

    A spectrum, [1, M] or [M] with M of at least 2, also has ``bin_mean`` and ``bin_std``, lists of length M,
    if each of its points has a label in some sample and M is the same in all samples.

    A classification target has ``classes``, ``class_counts`` and ``count`` instead. A target is a
    classification target if ``target_types`` lists it under ``classification``, or if it is integer, boolean
    or text and not listed under ``regression``.

    If a target is absent or contains NaN, ``missing_structures`` is the number of structures with at least
    one missing component, and ``missing`` is the number of missing components. ``count`` is then the number
    of known components.
    """

    def __init__(self) -> None:
        self._count = self._atoms = 0
        self._num_atoms = Moments()
        self._elements = np.zeros(len(SYMBOLS), dtype=np.int64)
        self._targets: dict[str, _Target] = {}
        self._waiting: list[tuple[np.ndarray, Mapping[str, Any], bool]] = []

    def add(self, sample: Mapping[str, Any]) -> None:
        """Add one sample. Arrays may be numpy arrays or torch tensors. They must not change afterwards.

        Raises
        ------
        ValueError
            If the sample has no ``atomic_numbers``.
        """
        if "atomic_numbers" not in sample:
            name = sample.get("sample_id", f"sample {self._count + len(self._waiting)}")
            raise ValueError(
                f"{name} has no 'atomic_numbers', which statistics need; it has {', '.join(sample)}"
            )
        targets = sample.get("targets", {})
        for name in targets:
            if name not in self._targets:
                self._targets[name] = _Target(name)
        if types := sample.get("target_types"):
            regression, classification = types.get("regression", ()), types.get("classification", ())
            for name in targets:
                target = self._targets[name]
                target.is_regression = target.is_regression or name in regression
                target.is_classification = target.is_classification or name in classification
        numbers = sample["atomic_numbers"]
        numbers = numbers if type(numbers) is np.ndarray else np.asarray(numbers)
        self._waiting.append((numbers, targets, numbers.size == 1 and _is_isolated(sample)))
        if len(self._waiting) >= _BLOCK:
            self._empty()

    def merge(self, other: Self) -> None:
        """Add the samples that `other` has collected."""
        self._empty()
        other._empty()
        self._count += other._count
        self._atoms += other._atoms
        self._num_atoms.merge(other._num_atoms)
        self._elements += other._elements
        for name, target in other._targets.items():
            self._targets.setdefault(name, _Target(name)).merge(target)

    def values_of(self, target: str) -> list[int | str]:
        """Return the distinct values of a target with integers or words, in ascending order."""
        self._empty()
        values = self._targets[target].classes if target in self._targets else ()
        return sorted(values, key=lambda value: (isinstance(value, str), value))

    def class_targets(self) -> list[str]:
        """Return the names of the classification targets."""
        self._empty()
        return [name for name, target in self._targets.items() if target.is_label]

    def number_classes(self, classes: Mapping[str, list[int | str]]) -> None:
        """Replace the values of targets by their positions in the lists of all their values."""
        self._empty()
        for name, values in classes.items():
            if name in self._targets:
                self._targets[name].number_classes(values)

    def result(self) -> dict[str, Any]:
        """Return the statistics of all samples so far, as JSON-serializable values."""
        self._empty()
        num_atoms = self._num_atoms.result()
        return {
            "count": self._count,
            "natoms": {key: num_atoms[key] for key in ("min", "mean", "max") if key in num_atoms},
            "elements": {
                SYMBOLS[number]: int(self._elements[number]) for number in np.flatnonzero(self._elements)
            },
            "targets": {
                name: self._targets[name].result(self._count, self._atoms) for name in sorted(self._targets)
            },
        }

    def _empty(self) -> None:
        """Process the buffered samples."""
        if not self._waiting:
            return
        block, self._waiting = self._waiting, []
        num_atoms = np.array([numbers.size for numbers, _, _ in block])
        composition = count_elements(np.concatenate([numbers for numbers, _, _ in block]), num_atoms)
        self._count += len(block)
        self._atoms += int(num_atoms.sum())
        self._num_atoms.add(num_atoms)
        self._elements += composition.sum(axis=0)
        isolated = [row for row, each in enumerate(block) if each[2]]
        for name, target in self._targets.items():
            rows = [row for row, (_, targets, _) in enumerate(block) if name in targets]
            if not rows:
                continue
            values = [block[row][1][name] for row in rows]
            everywhere = len(rows) == len(block)
            atoms, parts = (num_atoms, composition) if everywhere else (num_atoms[rows], composition[rows])
            if all(type(value) is float for value in values):
                target.add_numbers(np.array(values), atoms, parts)
            else:
                target.add([np.asarray(value) for value in values], atoms, parts)
            for row in isolated:
                if target.fit is not None and name in block[row][1]:
                    target.isolated.setdefault(int(block[row][0][0]), []).append(float(block[row][1][name]))


def _is_isolated(sample: Mapping[str, Any]) -> bool:
    """Return whether a structure of one atom is a free atom."""
    is_free = not np.asarray(sample["pbc"]).any() if "pbc" in sample else "cell" not in sample
    extra = sample.get("extra") or {}
    return bool(is_free) or str(extra.get("config_type", "")).lower() == "isolatedatom"


class _Target:
    def __init__(self, name: str) -> None:
        self.numbers = Moments()
        self.per_atom = Moments()
        self.fit = ReferenceFit() if is_energy(name) else None
        self.bins: BinMoments | None = BinMoments()
        self.one_a_structure = True
        self.is_regression = False
        self.is_classification = False
        self.has_fractions = False
        self.classes: Counter[int | str] = Counter()
        self.structures = self.atoms = 0
        self.isolated: dict[int, list[float]] = {}  # energies of free atoms by atomic number
        self.sizes: set[int] = set()  # numbers of components of a structure
        self.sizes_per_atom: set[float] = set()
        self.missing = 0
        self.missing_structures = 0

    @property
    def is_label(self) -> bool:
        return self.is_classification or not (self.is_regression or self.has_fractions)

    def number_classes(self, values: list[int | str]) -> None:
        number = {value: index for index, value in enumerate(values)}
        self.classes = Counter({number[value]: count for value, count in self.classes.items()})
        self.is_classification = True

    def add(self, values: Sequence[np.ndarray], num_atoms: np.ndarray, composition: np.ndarray) -> None:
        """Add the target values of several structures, with their numbers of atoms and their compositions."""
        self._count(np.array([value.size for value in values]), num_atoms)
        flat = values[0].ravel() if len(values) == 1 else np.concatenate([value.ravel() for value in values])
        if flat.dtype.kind == "U":
            self.classes.update(flat.tolist())
            return
        self.has_fractions = self.has_fractions or flat.dtype.kind == "f"
        flat = flat.astype(np.float64)
        known = ~np.isnan(flat)
        if self.is_label:
            labels, counts = np.unique(flat[known].astype(np.int64), return_counts=True)
            self.classes.update(dict(zip(labels.tolist(), counts.tolist(), strict=True)))
        if missing := int(flat.size - known.sum()):
            self.missing += missing
            structure = np.repeat(np.arange(len(values)), [value.size for value in values])
            self.missing_structures += np.unique(structure[~known]).size
        self.numbers.add(flat[known])
        self._add_bins(values)
        self.one_a_structure = self.one_a_structure and all(
            value.size == 1 and value.ndim <= 1 for value in values
        )
        if self.one_a_structure:
            self._add_per_atom(flat, known, num_atoms, composition)

    def add_numbers(self, numbers: np.ndarray, num_atoms: np.ndarray, composition: np.ndarray) -> None:
        """Add one number of each structure."""
        self._count(np.ones(len(numbers), dtype=np.int64), num_atoms)
        self.has_fractions, self.bins = True, None
        known = ~np.isnan(numbers)
        missing = int(numbers.size - known.sum())
        self.missing += missing
        self.missing_structures += missing
        self.numbers.add(numbers[known])
        if self.is_label:
            labels, counts = np.unique(numbers[known].astype(np.int64), return_counts=True)
            self.classes.update(dict(zip(labels.tolist(), counts.tolist(), strict=True)))
        if self.one_a_structure:
            self._add_per_atom(numbers, known, num_atoms, composition)

    def _count(self, sizes: np.ndarray, num_atoms: np.ndarray) -> None:
        self.structures += len(sizes)
        self.atoms += int(num_atoms.sum())
        if len(self.sizes) < 2 or len(self.sizes_per_atom) < 2:
            self.sizes.update(np.unique(sizes).tolist())
            self.sizes_per_atom.update(np.unique(sizes / num_atoms).tolist())

    def _add_per_atom(
        self, numbers: np.ndarray, known: np.ndarray, num_atoms: np.ndarray, composition: np.ndarray
    ) -> None:
        self.per_atom.add(numbers[known] / num_atoms[known])
        if self.fit is not None:
            self.fit.add(composition[known], numbers[known])

    def _add_bins(self, values: Sequence[np.ndarray]) -> None:
        shape = values[0].shape
        is_spectrum = shape[:-1] in ((), (1,)) and shape[-1:] > (1,)
        if not is_spectrum or any(value.shape != shape for value in values):
            self.bins = None
        elif self.bins is not None and self.bins.count.size in (0, shape[-1]):
            self.bins.add(np.stack([value.reshape(-1) for value in values]))
        else:
            self.bins = None

    def merge(self, other: Self) -> None:
        self.numbers.merge(other.numbers)
        if self.bins is None or other.bins is None or not _alike(self.bins, other.bins):
            self.bins = None
        else:
            self.bins.merge(other.bins)
        self.per_atom.merge(other.per_atom)
        if self.fit is not None and other.fit is not None:
            self.fit.merge(other.fit)
        for number, energies in other.isolated.items():
            self.isolated.setdefault(number, []).extend(energies)
        self.one_a_structure = self.one_a_structure and other.one_a_structure
        self.is_regression = self.is_regression or other.is_regression
        self.is_classification = self.is_classification or other.is_classification
        self.has_fractions = self.has_fractions or other.has_fractions
        self.classes.update(other.classes)
        self.structures += other.structures
        self.atoms += other.atoms
        self.sizes |= other.sizes
        self.sizes_per_atom |= other.sizes_per_atom
        self.missing += other.missing
        self.missing_structures += other.missing_structures

    def result(self, count: int, atoms: int) -> dict[str, Any]:
        """Return the statistics of this target in `count` structures with so many atoms."""
        absent = count - self.structures, atoms - self.atoms
        if self.is_label:
            labels = sorted(self.classes)
            counted = {
                "classes": labels,
                "class_counts": [self.classes[label] for label in labels],
                "count": sum(self.classes.values()),
            }
            return counted | self._missing(absent)
        result: dict[str, Any] = dict(self.numbers.result())
        if self.one_a_structure and result["count"]:
            per_atom = self.per_atom.result()
            result |= {"per_atom_mean": per_atom["mean"], "per_atom_std": per_atom["std"]}
            if self.fit is not None:
                result |= self.fit.result()
                result |= self._isolated()
        if self.bins is not None:
            result |= self.bins.result()
        return result | self._missing(absent)

    def _isolated(self) -> dict[str, dict[str, float]]:
        energies = {number: np.array(values) for number, values in sorted(self.isolated.items())}
        means = {
            SYMBOLS[number]: float(np.nanmean(values))
            for number, values in energies.items()
            if not np.isnan(values).all()
        }
        return {"isolated_atom_energies": means} if means else {}

    def _missing(self, absent: tuple[int, int]) -> dict[str, int]:
        """Count missing components and structures, with the absent structures and their atoms."""
        structures, atoms = absent
        if not (self.missing or structures):
            return {}
        components = structures
        if len(self.sizes) == 1:
            components *= next(iter(self.sizes))
        elif len(self.sizes_per_atom) == 1:
            components = round(atoms * next(iter(self.sizes_per_atom)))
        return {
            "missing": self.missing + components,
            "missing_structures": self.missing_structures + structures,
        }


def _alike(one: BinMoments, other: BinMoments) -> bool:
    return not (one.count.size and other.count.size) or one.count.size == other.count.size
