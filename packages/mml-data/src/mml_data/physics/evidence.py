"""Measure all samples of a data set in one pass, for the checks."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np

from mml_data.physics.frame import Frame, to_frame
from mml_data.physics.geometry import heights, nearest, wrapped
from mml_data.physics.labels import LabelCounts
from mml_data.physics.pairs import PAIR, PairFinder
from mml_data.physics.radii import CONTACT_RADII

__all__ = ["ROW", "Evidence", "collect"]

_FLOATS = ("energy", "force_rms", "force_max", "net_force", "pressure", "stress_max", "volume")
_GEOMETRY = ("ratio", "closest", "distance", "vacuum", "filled", "asymmetry")
ROW = np.dtype(
    [
        *(
            (name, np.int64)
            for name in ("index", "natoms", "composition", "split", "source", "digest", "order")
        ),
        *((name, np.float64) for name in (*_FLOATS, *_GEOMETRY)),
        ("fingerprint", np.float64, 3),
        *(
            (name, np.bool_)
            for name in ("cell", "periodic", "claimed", "fixed", "zero_forces", "unconverged")
        ),
    ]
)
"""Measurements of one sample. ``ratio`` is the median over atoms of the distance to the nearest atom, divided
by the sum of the contact radii; ``closest`` is the smallest ratio and ``distance`` the smallest distance
(angstrom). ``vacuum`` is the widest empty layer along a periodic lattice vector (angstrom), ``filled`` the
share of the cell between the outermost atoms, ``order`` a checksum of the atomic numbers, and ``asymmetry`` a
measure of the environments' asymmetry in samples with zero forces."""

_KEPT_FRAMES = 100  # for each set of elements
_KEPT_ATOMS = 8_000  # for each set of elements
_KEPT_SYSTEMS = 8
_EXAMPLES = 20
_BONDED = 1.8  # ratio of distances to covalent radii beyond which atoms may not interact at all
_WAVES = np.array(
    [(a, b, c) for a in range(3) for b in range(-2, 3) for c in range(-2, 3) if (a, b, c) > (0, 0, 0)]
)
_WEIGHTS = np.random.Generator(np.random.PCG64(7)).random((len(_WAVES), 3))


@dataclass
class Evidence:
    """Measurements of the samples of a data set, from which the checks draw their conclusions.

    Attributes
    ----------
    rows
        Measurements of each sample, [n] of dtype `ROW`.
    pairs
        Pairs of similar samples, [m] of dtype `mml_data.physics.pairs.PAIR`.
    compositions
        Elements and numbers of atoms of each composition.
    splits, sources
        Names by the numbers in the rows.
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
    sources: list[str] = field(default_factory=list)
    groups: dict[str, list[str]] = field(default_factory=dict)
    labels: dict[str, LabelCounts] = field(default_factory=dict)
    examples: list[Frame] = field(default_factory=list)
    systems: dict[bytes, list[Frame]] = field(default_factory=dict)
    charges: dict[int, float] = field(default_factory=dict)
    moments: dict[int, float] = field(default_factory=dict)

    def fractions(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the elements and the share of each element in the atoms of each sample, [n, elements]."""
        known = np.unique(np.concatenate([numbers for numbers, _ in self.compositions] or [np.zeros(0, int)]))
        table = np.zeros((len(self.compositions), len(known)))
        for row, (numbers, counts) in zip(table, self.compositions, strict=True):
            row[np.searchsorted(known, numbers)] = counts / counts.sum()
        return known, table[self.rows["composition"]]


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
        self._compositions, self._splits, self._sources = _Numbers(), _Numbers(), _Numbers()
        self._seen: dict[bytes, int] = {}
        self._random = np.random.Generator(np.random.PCG64(0))

    def add(self, frame: Frame) -> None:
        evidence = self._evidence
        for name, value in frame.targets.items():
            evidence.labels.setdefault(name, LabelCounts()).add(frame, value)
        for key, name in frame.groups.items():
            names = evidence.groups.setdefault(key, [""] * self._rows.count)
            names.append(name)
        self._measure(frame)
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
        evidence.splits, evidence.sources = self._splits.names(), self._sources.names()
        return evidence

    def _measure(self, frame: Frame) -> None:
        numbers, counts = np.unique(frame.numbers, return_counts=True)
        row = np.zeros((), ROW)
        for name in (*_FLOATS, *_GEOMETRY, "fingerprint"):
            row[name] = np.nan
        row["index"], row["natoms"], row["energy"] = frame.index, len(frame.numbers), frame.energy
        row["composition"] = self._compositions((numbers.tobytes(), counts.astype(np.int64).tobytes()))
        row["order"] = _checksum(frame.numbers.tobytes())
        row["split"], row["source"] = self._splits(frame.split), self._sources(frame.source)
        row["cell"], row["periodic"] = frame.cell is not None, frame.pbc.all()
        row["claimed"], row["fixed"] = frame.claimed.any(), frame.fixed is not None and frame.fixed.any()
        row["volume"], row["unconverged"] = frame.volume, _unconverged(frame.extra)
        if frame.forces is not None and len(frame.forces):
            sizes = np.linalg.norm(frame.forces, axis=1)
            row["force_rms"], row["force_max"] = np.sqrt((sizes**2).mean()), sizes.max()
            row["net_force"] = np.linalg.norm(frame.forces.sum(axis=0))
            row["zero_forces"] = not sizes.any()
        if frame.stress is not None:
            row["pressure"], row["stress_max"] = -np.trace(frame.stress) / 3, np.abs(frame.stress).max()
        if np.isfinite(frame.pos).all() and frame.numbers.size:
            _measure_geometry(frame, row)
        self._rows.add(row)

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

    @property
    def count(self) -> int:
        return sum(map(len, self._blocks)) + self._used

    def add(self, row: object) -> None:
        if self._used == len(self._block):
            if self._used:
                self._blocks.append(self._block)
            self._block, self._used = np.zeros(1024, self._dtype), 0
        self._block[self._used] = row
        self._used += 1

    def array(self) -> np.ndarray:
        return np.concatenate([*self._blocks, self._block[: self._used]])


def _measure_geometry(frame: Frame, row: np.ndarray) -> None:
    distances, others = nearest(frame.pos, frame.cell, frame.pbc)
    radii = CONTACT_RADII[np.clip(frame.numbers, 0, len(CONTACT_RADII) - 1)]
    if np.isfinite(distances).all():
        ratios = distances / (radii + radii[others])
        row["ratio"], row["closest"], row["distance"] = np.median(ratios), ratios.min(), distances.min()
    if row["zero_forces"] and row["ratio"] < _BONDED:
        row["asymmetry"] = _asymmetry(frame, float(distances.max()))
    weights = frame.numbers / frame.numbers.sum()
    if frame.cell is None:
        centered = frame.pos - weights @ frame.pos
        spread = np.linalg.eigvalsh(centered.T @ (weights[:, None] * centered))
        row["fingerprint"] = spread
        key = np.round(centered, 4) + 0.0
    else:
        fractions = wrapped(frame.pos, frame.cell, frame.pbc)
        extent = np.ptp(frame.pos @ np.linalg.inv(frame.cell), axis=0) + distances.max() / heights(frame.cell)
        row["filled"] = extent.min()
        row["vacuum"] = _vacuum(fractions, frame.cell, frame.pbc)
        waves = np.exp(2j * np.pi * fractions @ _WAVES.T)
        metric = np.abs(np.linalg.eigvalsh(frame.cell @ frame.cell.T))
        row["fingerprint"] = np.abs(weights @ waves) ** 2 @ _WEIGHTS + np.sqrt(metric) / 10
        key = np.vstack([np.round(fractions, 4) % 1, np.round(frame.cell, 3)]) + 0.0
    row["digest"] = _checksum(frame.numbers.tobytes() + key.tobytes())


def _checksum(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little", signed=True)


def _vacuum(fractions: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> float:
    """Return the widest layer without atoms along a periodic lattice vector, angstrom."""
    high = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    widest = 0.0
    for axis in np.flatnonzero(pbc):
        ordered = np.sort(fractions[:, axis])
        gaps = np.diff(ordered, append=ordered[0] + 1)
        widest = max(widest, float(gaps.max() * high[axis]))
    return widest


def _asymmetry(frame: Frame, reach: float) -> float:
    """Return how much the neighbors of the atoms pull them to one side, relative to their sum.

    Zero for sites whose symmetry does not allow a force.
    """
    if not np.isfinite(reach):
        return 0.0
    width, largest = 0.3 * reach, 0.0
    images = np.zeros((1, 3))
    if frame.cell is not None:
        high = np.where(frame.pbc, 1 / np.linalg.norm(np.linalg.inv(frame.cell), axis=0), np.inf)
        counts = np.minimum(np.ceil(2 * reach / high), 3).astype(int)
        images = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in counts), indexing="ij"), -1).reshape(
            -1, 3
        )
        images = images @ frame.cell
    for atom in range(min(len(frame.pos), 50)):
        delta = frame.pos - frame.pos[atom]
        if frame.cell is not None:
            delta = delta - (np.round(delta @ np.linalg.inv(frame.cell)) * frame.pbc) @ frame.cell
        vectors = (delta[:, None, :] + images).reshape(-1, 3)
        charge = np.repeat(frame.numbers, len(images))
        lengths = np.linalg.norm(vectors, axis=1)
        used = (lengths > 1e-8) & (lengths < 2 * reach)
        pull = (
            charge[used]
            * np.exp(-((lengths[used] / (2 * width)) ** 2))
            * np.cos(np.pi / 4 * lengths[used] / reach) ** 2
        )
        if pull.sum() > 0:
            net = np.linalg.norm((pull / lengths[used]) @ vectors[used])
            largest = max(largest, float(net / pull.sum()))
    return largest


def _unconverged(extra: Mapping[str, Any]) -> bool:
    for key, value in extra.items():
        if "converged" in key.lower() and isinstance(value, bool | int | np.bool_):
            return bool(value) == ("unconverged" in key.lower() or "not_converged" in key.lower())
    return False


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
