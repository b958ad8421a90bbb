"""Measure one sample for the checks."""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import numpy as np

from mml_data.physics.frame import Frame
from mml_data.physics.geometry import heights, nearest, wrapped
from mml_data.physics.radii import CONTACT_RADII

__all__ = ["ROW", "measure"]

_FLOATS = ("energy", "force_rms", "force_max", "net_force", "stress_max", "volume")
_GEOMETRY = ("ratio", "closest", "distance", "vacuum", "filled", "asymmetry")
ROW = np.dtype(
    [
        *((name, np.int64) for name in ("index", "natoms", "composition", "split", "digest", "order")),
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

_BONDED = 1.8  # ratio of distances to covalent radii beyond which atoms may not interact at all
_WAVES = np.array(
    [(a, b, c) for a in range(3) for b in range(-2, 3) for c in range(-2, 3) if (a, b, c) > (0, 0, 0)]
)
_WEIGHTS = np.random.Generator(np.random.PCG64(7)).random((len(_WAVES), 3))


def measure(frame: Frame, composition: int, split: int) -> np.ndarray:
    """Return the measurements of a sample, a scalar of dtype `ROW`.

    Parameters
    ----------
    frame
        Sample.
    composition, split
        Numbers of its composition and of its split.
    """
    row = np.zeros((), ROW)
    for name in (*_FLOATS, *_GEOMETRY, "fingerprint"):
        row[name] = np.nan
    row["index"], row["natoms"], row["energy"] = frame.index, len(frame.numbers), frame.energy
    row["composition"], row["split"] = composition, split
    row["order"] = _checksum(frame.numbers.tobytes())
    row["cell"], row["periodic"] = frame.cell is not None, frame.pbc.all()
    row["claimed"], row["fixed"] = frame.claimed.any(), frame.fixed is not None and frame.fixed.any()
    row["volume"], row["unconverged"] = frame.volume, _unconverged(frame.extra)
    if frame.forces is not None and len(frame.forces):
        sizes = np.linalg.norm(frame.forces, axis=1)
        row["force_rms"], row["force_max"] = np.sqrt((sizes**2).mean()), sizes.max()
        row["net_force"] = np.linalg.norm(frame.forces.sum(axis=0))
        row["zero_forces"] = not sizes.any()
    if frame.stress is not None:
        row["stress_max"] = np.abs(frame.stress).max()
    if np.isfinite(frame.pos).all() and frame.numbers.size:
        _measure_geometry(frame, row)
    return row


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
