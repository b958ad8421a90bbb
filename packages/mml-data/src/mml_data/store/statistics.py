"""Compute statistics of targets and structures in float64, in one streaming pass.

Partial results can be merged.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from mml_samples import SYMBOLS, Moments, ReferenceFit, count_elements

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
    (see `mml_samples.ReferenceFit`).

    A classification target has ``classes``, ``class_counts`` and ``count`` instead. A target is a
    classification target if ``target_types`` lists it under ``classification``, or if it is integer or
    boolean and not listed under ``regression``.

    If a target contains NaN, ``missing`` is the number of missing components, and ``missing_structures`` is
    the number of structures with at least one missing component. ``count`` is then the number of known
    components.
    """

    def __init__(self) -> None:
        self._count = 0
        self._num_atoms = Moments()
        self._elements = np.zeros(len(SYMBOLS), dtype=np.int64)
        self._targets: dict[str, _Target] = {}
        self._waiting: list[tuple[np.ndarray, Mapping[str, Any]]] = []

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
        types = sample.get("target_types", {})
        regression, classification = types.get("regression", ()), types.get("classification", ())
        for name in targets:
            target = self._targets.get(name) or self._targets.setdefault(name, _Target(name))
            target.is_regression = target.is_regression or name in regression
            target.is_classification = target.is_classification or name in classification
        self._waiting.append((np.asarray(sample["atomic_numbers"]), targets))
        if len(self._waiting) >= _BLOCK:
            self._empty()

    def merge(self, other: Self) -> None:
        """Add the samples that `other` has collected."""
        self._empty()
        other._empty()
        self._count += other._count
        self._num_atoms.merge(other._num_atoms)
        self._elements += other._elements
        for name, target in other._targets.items():
            self._targets.setdefault(name, _Target(name)).merge(target)

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
            "targets": {name: target.result() for name, target in self._targets.items()},
        }

    def _empty(self) -> None:
        """Process the buffered samples."""
        if not self._waiting:
            return
        block, self._waiting = self._waiting, []
        num_atoms = np.array([numbers.size for numbers, _ in block])
        composition = count_elements(np.concatenate([numbers for numbers, _ in block]), num_atoms)
        self._count += len(block)
        self._num_atoms.add(num_atoms)
        self._elements += composition.sum(axis=0)
        for name, target in self._targets.items():
            rows = [row for row, (_, targets) in enumerate(block) if name in targets]
            if rows:
                values = [np.asarray(block[row][1][name]) for row in rows]
                target.add(values, num_atoms[rows], composition[rows])


class _Target:
    def __init__(self, name: str) -> None:
        self.values = Moments()
        self.per_atom = Moments()
        self.fit = ReferenceFit() if is_energy(name) else None
        self.one_a_structure = True
        self.is_regression = False
        self.is_classification = False
        self.has_fractions = False
        self.classes: Counter[int] = Counter()
        self.missing = 0
        self.missing_structures = 0

    @property
    def is_label(self) -> bool:
        return self.is_classification or not (self.is_regression or self.has_fractions)

    def add(self, values: Sequence[np.ndarray], num_atoms: np.ndarray, composition: np.ndarray) -> None:
        """Add the target values of several structures, with their numbers of atoms and their compositions."""
        flat = values[0].ravel() if len(values) == 1 else np.concatenate([value.ravel() for value in values])
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
        self.values.add(flat[known])
        self.one_a_structure = self.one_a_structure and all(
            value.size == 1 and value.ndim <= 1 for value in values
        )
        if self.one_a_structure:
            self.per_atom.add(flat[known] / num_atoms[known])
            if self.fit is not None:
                self.fit.add(composition[known], flat[known])

    def merge(self, other: Self) -> None:
        self.values.merge(other.values)
        self.per_atom.merge(other.per_atom)
        if self.fit is not None and other.fit is not None:
            self.fit.merge(other.fit)
        self.one_a_structure = self.one_a_structure and other.one_a_structure
        self.is_regression = self.is_regression or other.is_regression
        self.is_classification = self.is_classification or other.is_classification
        self.has_fractions = self.has_fractions or other.has_fractions
        self.classes.update(other.classes)
        self.missing += other.missing
        self.missing_structures += other.missing_structures

    def result(self) -> dict[str, Any]:
        if self.is_label:
            labels = sorted(self.classes)
            counted = {
                "classes": labels,
                "class_counts": [self.classes[label] for label in labels],
                "count": sum(self.classes.values()),
            }
            return counted | self._missing()
        result: dict[str, Any] = dict(self.values.result())
        if self.one_a_structure and result["count"]:
            per_atom = self.per_atom.result()
            result |= {"per_atom_mean": per_atom["mean"], "per_atom_std": per_atom["std"]}
            if self.fit is not None:
                result |= self.fit.result()
        return result | self._missing()

    def _missing(self) -> dict[str, int]:
        if not self.missing:
            return {}
        return {"missing": self.missing, "missing_structures": self.missing_structures}
