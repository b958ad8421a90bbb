"""Measure all samples of a data set in one pass, for the checks."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from sys import intern
from typing import Any

import numpy as np

from mml_data.physics.frame import Frame, to_frame
from mml_data.physics.labels import LabelCounts
from mml_data.physics.measure import ROW, measure
from mml_data.physics.pairs import PAIR, PairFinder

__all__ = ["Evidence", "collect"]

_KEPT_FRAMES = 100  # for each set of elements
_KEPT_ATOMS = 8_000  # for each set of elements
_KEPT_SYSTEMS = 8
_EXAMPLES = 20


@dataclass
class Evidence:
    """Measurements of the samples of a data set, from which the checks draw their conclusions.

    Attributes
    ----------
    rows
        Measurements of each sample, [n] of dtype `mml_data.physics.measure.ROW`.
    pairs
        Pairs of similar samples, [m] of dtype `mml_data.physics.pairs.PAIR`.
    compositions
        Elements and numbers of atoms of each composition.
    splits
        Names of the splits, by the numbers in the rows.
    groups
        Key under ``extra`` to the name of each sample's group.
    labels
        Counts of the values of each target.
    examples
        Some samples, for tests of the unit of lengths.
    systems
        Set of elements to some of its samples, drawn at random.
    charges, moments
        Index to an implausible charge and magnetic moment.
    """

    rows: np.ndarray = field(default_factory=lambda: np.zeros(0, ROW))
    pairs: np.ndarray = field(default_factory=lambda: np.zeros(0, PAIR))
    compositions: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    groups: dict[str, list[str]] = field(default_factory=dict)
    labels: dict[str, LabelCounts] = field(default_factory=dict)
    examples: list[Frame] = field(default_factory=list)
    systems: dict[bytes, list[Frame]] = field(default_factory=dict)
    charges: dict[int, float] = field(default_factory=dict)
    moments: dict[int, float] = field(default_factory=dict)

    def elements(self) -> np.ndarray:
        """Return the atomic numbers of all samples, ascending."""
        found = {int(number) for numbers, _ in self.compositions for number in numbers}
        return np.array(sorted(found), dtype=np.int64)

    def shares(self, compositions: np.ndarray) -> np.ndarray:
        """Return the share of each element in the atoms of compositions, [n, elements]."""
        known = self.elements()
        table = np.zeros((len(compositions), len(known)))
        for row, composition in zip(table, compositions.tolist(), strict=True):
            numbers, counts = self.compositions[composition]
            row[np.searchsorted(known, numbers)] = counts / counts.sum()
        return table

    def per_atom(self, energies: np.ndarray) -> np.ndarray:
        """Return the energy per atom of each composition, given those of the elements, [compositions]."""
        known = self.elements()
        return np.array(
            [
                energies[np.searchsorted(known, numbers)] @ counts / counts.sum()
                for numbers, counts in self.compositions
            ]
        )


def collect(samples: Iterable[tuple[int, str, Mapping[str, Any]]]) -> Evidence:
    """Measure samples, given as index, split and sample, in one pass."""
    collector = _Collector()
    for index, split, sample in samples:
        collector.add(to_frame(index, sample, split))
    return collector.result()


class _Numbers:
    """Numbers for names, in order of appearance."""

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}

    def __call__(self, name: Any) -> int:
        return self._numbers.setdefault(name, len(self._numbers))

    def names(self) -> list[Any]:
        return list(self._numbers)


class _Collector:
    def __init__(self) -> None:
        self._evidence = Evidence()
        self._rows: _Blocks = _Blocks(ROW)
        self._pairs: _Blocks = _Blocks(PAIR)
        self._finder = PairFinder()
        self._compositions, self._splits = _Numbers(), _Numbers()
        self._seen: dict[bytes, int] = {}
        self._random = np.random.Generator(np.random.PCG64(0))

    def add(self, frame: Frame) -> None:
        evidence = self._evidence
        for name, value in frame.targets.items():
            evidence.labels.setdefault(name, LabelCounts()).add(frame, value)
        for key, name in frame.groups.items():
            names = evidence.groups.setdefault(key, [""] * self._rows.count)
            names.append(intern(name))
        numbers, counts = np.unique(frame.numbers, return_counts=True)
        composition = self._compositions((numbers.tobytes(), counts.astype(np.int64).tobytes()))
        self._rows.add(measure(frame, composition, self._splits(frame.split)))
        for names in evidence.groups.values():
            if len(names) < self._rows.count:
                names.append("")
        if np.isfinite(frame.pos).all() and frame.numbers.size:
            for pair in self._finder.find(frame):
                self._pairs.add(pair)
        self._keep(frame)
        _check_moments(frame, evidence)

    def result(self) -> Evidence:
        evidence = self._evidence
        evidence.rows, evidence.pairs = self._rows.array(), self._pairs.array()
        evidence.compositions = [
            (np.frombuffer(numbers, np.int64), np.frombuffer(counts, np.int64))
            for numbers, counts in self._compositions.names()
        ]
        evidence.splits = self._splits.names()
        return evidence

    def _keep(self, frame: Frame) -> None:
        """Keep the frame in a random sample of those with the same elements, and some for other tests."""
        examples = self._evidence.examples
        if len(examples) < _EXAMPLES and 1 < len(frame.numbers) <= 1000 and np.isfinite(frame.pos).all():
            examples.append(frame)
        if frame.forces is None or len(frame.numbers) > _KEPT_ATOMS // 8:
            return
        key = np.unique(frame.numbers).tobytes()
        kept = self._evidence.systems
        if key not in kept and len(kept) >= _KEPT_SYSTEMS:
            return
        frames = kept.setdefault(key, [])
        self._seen[key] = self._seen.get(key, 0) + 1
        most = max(8, min(_KEPT_FRAMES, _KEPT_ATOMS // len(frame.numbers)))
        if len(frames) < most:
            frames.append(frame)
        elif (place := int(self._random.integers(self._seen[key]))) < len(frames):
            frames[place] = frame


class _Blocks:
    """Rows of a structured array, added one by one."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._blocks: list[np.ndarray] = []
        self._block = np.zeros(0, dtype)
        self._used = 0
        self.count = 0

    def add(self, row: object) -> None:
        if self._used == len(self._block):
            if self._used:
                self._blocks.append(self._block)
            self._block, self._used = np.zeros(1024, self._dtype), 0
        self._block[self._used] = row
        self._used += 1
        self.count += 1

    def array(self) -> np.ndarray:
        return np.concatenate([*self._blocks, self._block[: self._used]])


def _check_moments(frame: Frame, evidence: Evidence) -> None:
    count = max(len(frame.numbers), 1)
    charge = frame.keys.get("charge")
    if charge is not None and np.ndim(charge) == 0 and abs(float(charge)) > max(4, count):
        evidence.charges[frame.index] = float(charge)
    magmom = frame.keys.get("magmom", frame.targets.get("magmom"))
    if magmom is not None:
        largest = float(np.nanmax(np.abs(np.asarray(magmom, dtype=np.float64)), initial=0))
        if largest > 10 * (1 if np.size(magmom) > 1 else count):
            evidence.moments[frame.index] = largest
