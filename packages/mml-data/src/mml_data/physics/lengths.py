"""Check the unit of lengths, by the distances between nearest atoms.

In molecules and solids, the distance to the nearest atom is close to the sum of the covalent radii: 0.85 to
1.45 times the sum for almost all structures. Other values point to bohr, nm or fractional coordinates.
"""

from collections.abc import Sequence

import numpy as np

from mml_data.physics.evidence import Evidence
from mml_data.physics.finding import Finding
from mml_data.physics.frame import Frame
from mml_data.physics.geometry import nearest
from mml_data.physics.radii import CONTACT_RADII

__all__ = ["check_close_atoms", "check_lengths"]

_BOHR = 0.529177
_USUAL = (0.75, 1.5)
_OVERLAP = 0.5
_HYPOTHESES = (
    ("bohr instead of angstrom", _BOHR, _BOHR, "--units length=bohr"),
    ("nm instead of angstrom", 10.0, 10.0, "--units length=nm"),
    ("pm instead of angstrom", 0.01, 0.01, "--units length=pm"),
    ("positions in bohr, but the cell in angstrom", _BOHR, 1.0, "convert the positions in the source"),
    ("the cell in bohr, but positions in angstrom", 1.0, _BOHR, "convert the cell in the source"),
    ("positions in nm, but the cell in angstrom", 10.0, 1.0, "convert the positions in the source"),
    ("the cell in nm, but positions in angstrom", 1.0, 10.0, "convert the cell in the source"),
)
_CLOSE = 0.45


def check_lengths(evidence: Evidence) -> list[Finding]:
    """Compare the distances of nearest atoms with covalent radii."""
    rows = evidence.rows[np.isfinite(evidence.rows["ratio"]) & (evidence.rows["natoms"] > 2)]
    if not len(rows):
        return []
    median = float(np.median(rows["ratio"]))
    usual = _is_usual(rows["ratio"], rows["closest"])
    if usual.mean() >= 0.5:
        return _exceptions(rows, usual)
    frames = evidence.examples
    if not frames:
        return []
    cells = any(frame.cell is not None for frame in frames)
    scores = {
        each: _score(frames, each[1], each[2]) if cells or each[1] == each[2] else 0.0 for each in _HYPOTHESES
    }
    best = max(scores, key=lambda each: scores[each])
    fractional = _score_fractional(frames)
    lead = (
        f"the distance to the nearest atom is {median:.2f} times the sum of the covalent radii in the "
        "median, 0.85 to 1.45 would be usual"
    )
    numbers = {"median_ratio": median}
    if fractional >= max(scores[best], 0.7):
        return [
            Finding(
                "lengths",
                "error",
                f"the positions are fractional coordinates: {lead}",
                "multiply them by the lattice vectors in the source, or use a format that declares "
                "fractional coordinates",
                (),
                numbers,
            )
        ]
    if scores[best] > 0.7:
        name, _, _, advice = best
        verb = "import with " if advice.startswith("--") else ""
        return [
            Finding("lengths", "error", f"lengths are in {name}: {lead}", verb + advice, (), numbers)
            if name.endswith("instead of angstrom")
            else Finding("lengths", "error", f"{name}: {lead}", verb + advice, (), numbers)
        ]
    if 0.6 < median < 2.2:
        return []
    return [
        Finding(
            "lengths", "warning", lead, "check the unit of positions and cell, and the elements", (), numbers
        )
    ]


def check_close_atoms(evidence: Evidence) -> list[Finding]:
    """Find atoms that are much closer than a bond."""
    rows = evidence.rows
    with np.errstate(invalid="ignore"):
        close = rows["closest"] < _CLOSE
    if not close.any() or close.mean() > 0.5:  # the unit of lengths is wrong in the latter case
        return []
    worst = rows[close][np.argmin(rows["closest"][close])]
    return [
        Finding(
            "close_atoms",
            "error" if worst["closest"] < 0.3 else "warning",
            f"atoms are closer than {_CLOSE} times the sum of their covalent radii in {int(close.sum()):,} "
            f"of {len(rows):,} samples, at the closest {worst['distance']:.3g} angstrom",
            "check these structures for duplicated atoms, wrong elements, or coordinates in another unit",
            tuple(rows["index"][close].tolist()),
            {"closest": float(worst["distance"]), "worst": int(worst["index"])},
        )
    ]


def _is_usual(ratio: np.ndarray, closest: np.ndarray) -> np.ndarray:
    return (ratio > _USUAL[0]) & (ratio < _USUAL[1]) & (closest > _OVERLAP)


def _exceptions(rows: np.ndarray, usual: np.ndarray) -> list[Finding]:
    """Find samples whose distances are in another unit than those of others with the same composition."""
    medians = {
        number: float(np.median(rows["ratio"][usual & (rows["composition"] == number)]))
        for number in np.intersect1d(rows["composition"][~usual], rows["composition"][usual])
    }
    compared = np.array([row["ratio"] / medians.get(row["composition"], np.nan) for row in rows[~usual]])
    found = []
    for name, factor in (("bohr", 1 / _BOHR), ("nm", 0.1)):
        wrong = np.abs(compared / factor - 1) < 0.15
        if wrong.any():
            found.append(
                Finding(
                    "lengths",
                    "error",
                    f"lengths are probably in {name} in {int(wrong.sum()):,} of {len(rows):,} samples: "
                    f"distances are {np.median(compared[wrong]):.2f} times those of other samples with the "
                    "same composition",
                    "convert these samples in the source, or import them separately with --units "
                    f"length={name}",
                    tuple(rows["index"][~usual][wrong].tolist()),
                    {"factor": float(np.median(compared[wrong]))},
                )
            )
    return found


def _score(frames: Sequence[Frame], pos: float, cell: float) -> float:
    """Return the share of samples with usual distances if positions and cell are multiplied by factors."""
    return _usual_share(
        frames, [(frame.pos * pos, None if frame.cell is None else frame.cell * cell) for frame in frames]
    )


def _score_fractional(frames: Sequence[Frame]) -> float:
    if any(frame.cell is None or np.ptp(frame.pos, axis=0).max() > 2 for frame in frames):
        return 0.0
    return _usual_share(frames, [(frame.pos @ frame.cell, frame.cell) for frame in frames])


def _usual_share(
    frames: Sequence[Frame], structures: Sequence[tuple[np.ndarray, np.ndarray | None]]
) -> float:
    usual = []
    for frame, (pos, cell) in zip(frames, structures, strict=True):
        distances, others = nearest(pos, cell, frame.pbc)
        radii = CONTACT_RADII[frame.numbers]
        ratios = distances / (radii + radii[others])
        usual.append(bool(_is_usual(np.median(ratios), ratios.min())) if np.isfinite(ratios).all() else False)
    return float(np.mean(usual))
