"""Find duplicates, and structures in several splits that are nearly the same."""

from collections import Counter

import numpy as np

from mml_data.physics.evidence import Evidence
from mml_data.physics.finding import Finding

__all__ = ["SAME_FINGERPRINT", "check_duplicates", "check_leakage"]

SAME_FINGERPRINT = 2e-5
"""Largest difference between fingerprints of the same structure."""

_SIMILAR = 0.1  # rms displacement in angstrom
_CONFLICT = 0.01  # eV per atom


def check_duplicates(evidence: Evidence) -> list[Finding]:
    """Find samples with the same structure, within a split and across splits."""
    rows = evidence.rows
    known = rows["digest"] != 0
    groups = _groups(rows, known)
    across: list[np.ndarray] = []
    within: list[np.ndarray] = []
    conflicts: list[np.ndarray] = []
    for group in groups:
        members = rows[group]
        (across if len(set(members["split"].tolist())) > 1 else within).append(group)
        energies = members["energy"] / members["natoms"]
        if np.isfinite(energies).any() and np.nanmax(energies) - np.nanmin(energies) > _CONFLICT:
            conflicts.append(group)
    found = []
    if across:
        exact = [group for group in across if np.unique(rows["digest"][group]).size < group.size]
        found.append(
            Finding(
                "duplicates",
                "error" if exact else "warning",
                f"{len(across):,} structures are in several splits ({_names(evidence, across)}), "
                f"{len(exact):,} of them with the same coordinates and the others rotated, reflected or "
                "with another order of atoms; a model looks better than it is",
                "remove the duplicates from the source, or draw new splits that keep them together",
                _indices(rows, across),
                {"structures": len(across)},
            )
        )
    if within:
        count = sum(map(len, within)) - len(within)
        found.append(
            Finding(
                "duplicates",
                "warning" if count > 0.01 * len(rows) else "info",
                f"{count:,} of {len(rows):,} samples {'repeats' if count == 1 else 'repeat'} the structure "
                "of another sample in the same split, some of them possibly rotated, reflected or in "
                "another order",
                "remove the duplicates, unless they are meant to count more",
                _indices(rows, within),
                {"repeats": count},
            )
        )
    if conflicts:
        found.append(
            Finding(
                "duplicates",
                "error",
                f"{len(conflicts):,} structures occur with different energies (by more than {_CONFLICT} eV "
                "per atom)",
                "keep one of the calculations, for example those with the same settings as the others",
                _indices(rows, conflicts),
                {"structures": len(conflicts)},
            )
        )
    return found


def check_leakage(evidence: Evidence) -> list[Finding]:
    """Find frames of a trajectory in different splits."""
    pairs = evidence.pairs
    crossing = pairs[pairs["same_atoms"] & ~pairs["same_split"] & (pairs["strain"] < 0.01)]
    if not len(crossing):
        return []
    similar = crossing[crossing["moved"] < _SIMILAR]
    training = _number(evidence.splits, "train")
    index = {int(each): place for place, each in enumerate(evidence.rows["index"])}
    held = {
        int(each)
        for pair in crossing
        for each in (pair["first"], pair["second"])
        if evidence.rows["split"][index[int(each)]] != training
    }
    outside = int((evidence.rows["split"] != training).sum())
    if not held or outside == 0 or len(held) < 0.02 * outside:
        return []
    near = {int(each) for pair in similar for each in (pair["first"], pair["second"])} & held
    serious = len(near) > 0.05 * outside
    return [
        Finding(
            "leakage",
            "warning" if serious else "info",
            f"{len(held):,} of the {outside:,} samples outside the training split are similar to a sample "
            f"of another split (same atoms, median rms displacement {np.median(crossing['moved']):.2g} "
            f"angstrom), as frames of the same trajectory are; {len(near):,} of them nearly the same "
            f"(below {_SIMILAR} angstrom)",
            "keep trajectories together: `matsciml data split DATASET --group-by source`, or --group-by "
            "block if there is only one",
            tuple(sorted(near or held)),
            {"similar": len(held), "nearly_same": len(near), "outside": outside},
        )
    ]


def _groups(rows: np.ndarray, known: np.ndarray) -> list[np.ndarray]:
    """Return the positions of samples with the same structure: equal digest, or nearly equal fingerprint."""
    places = np.flatnonzero(known & np.isfinite(rows["fingerprint"]).all(axis=1))
    keys = (rows["fingerprint"][places, 0], rows["natoms"][places], rows["composition"][places])
    places = places[np.lexsort(keys)]
    ordered = rows[places]
    energies = ordered["energy"] / ordered["natoms"]
    near = (np.abs(np.diff(ordered["fingerprint"], axis=0)) < SAME_FINGERPRINT).all(axis=1)
    near &= (np.diff(ordered["composition"]) == 0) & (np.diff(ordered["natoms"]) == 0)
    with np.errstate(invalid="ignore"):
        near &= ~(np.abs(np.diff(energies)) > 0.001)
    near |= np.diff(ordered["digest"]) == 0
    label = np.concatenate([[0], np.cumsum(~near)]) if len(places) else np.zeros(0, int)
    counts = np.bincount(label) if len(label) else np.zeros(0, int)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]]) if len(counts) else np.zeros(0, int)
    return [np.sort(places[starts[at] : starts[at] + counts[at]]) for at in np.flatnonzero(counts > 1)]


def _indices(rows: np.ndarray, groups: list[np.ndarray]) -> tuple[int, ...]:
    return tuple(sorted(rows["index"][np.concatenate(groups)].tolist()))


def _names(evidence: Evidence, groups: list[np.ndarray]) -> str:
    counts = Counter(
        " and ".join(
            sorted({evidence.splits[number] or "none" for number in evidence.rows["split"][group].tolist()})
        )
        for group in groups
    )
    return ", ".join(f"{count:,} in {names}" for names, count in counts.most_common())


def _number(names: list[str], name: str) -> int:
    return names.index(name) if name in names else -1
