"""Find calculations that did not converge, labels that repeat, and forces that are zero or extreme."""

import numpy as np

from mml_data.physics.duplicates import SAME_FINGERPRINT
from mml_data.physics.energy_force import close_pairs
from mml_data.physics.evidence import Evidence
from mml_data.physics.finding import Finding
from mml_data.physics.robust import fit_line

__all__ = ["check_convergence", "check_forces", "check_stuck"]

_EXTREME = 100.0  # eV/angstrom
_TYPICAL = 15.0  # eV/angstrom
_ASYMMETRIC = 0.02
_JUMP = 8
_SMALLEST_JUMP = 0.003  # eV per atom


def check_convergence(evidence: Evidence) -> list[Finding]:
    """Find samples that are marked as not converged, or whose energy does not fit to similar samples."""
    rows = evidence.rows
    found = []
    if rows["unconverged"].any():
        count = int(rows["unconverged"].sum())
        found.append(
            Finding(
                "convergence",
                "error",
                f"{count:,} of {len(rows):,} samples are marked as not converged under extra",
                "remove these samples, or repeat the calculations",
                tuple(rows["index"][rows["unconverged"]].tolist()),
            )
        )
    pairs = close_pairs(evidence)
    if len(pairs) >= 10:
        line = fit_line(pairs["work"], pairs["energy"])
        left = np.abs(pairs["energy"] - line.slope * pairs["work"])
        usual = max(float(np.median(left)) * 1.4826, 1e-6)
        # The error of the trapezoidal rule grows with the change of the forces.
        bend = np.maximum(pairs["bend"], 1e-6)
        is_jump = (left > _JUMP * usual) & (left > _JUMP * float(np.median(left / bend)) * bend)
        is_jump &= left > _SMALLEST_JUMP * pairs["natoms"]
        jumps = pairs[is_jump]
        frames = _culprits(jumps)
        if line.explained > 0.5 and frames and len(frames) < 0.3 * len(pairs):
            found.append(
                Finding(
                    "convergence",
                    "warning",
                    f"the energies of {len(frames):,} samples do not follow from those of similar samples "
                    f"and the forces: they differ by {float(np.median(left[is_jump])):.3g} eV "
                    f"in the median, usual is {usual:.2g} eV",
                    "check whether the calculations of these samples converged",
                    tuple(frames),
                    {"usual": usual},
                )
            )
    return found


def _culprits(jumps: np.ndarray) -> list[int]:
    """Return the samples that take part in most of the pairs, so that each pair has at least one of them."""
    left = [(int(pair["first"]), int(pair["second"])) for pair in jumps]
    chosen = []
    while left:
        members, counts = np.unique(np.array(left).ravel(), return_counts=True)
        most = members[counts == counts.max()]
        worst = int(most.max())
        chosen.append(worst)
        left = [pair for pair in left if worst not in pair]
    return sorted(chosen)


def check_forces(evidence: Evidence) -> list[Finding]:
    """Find zero forces where the symmetry does not require them, and forces that are too large."""
    rows = evidence.rows
    found = []
    zero = rows["zero_forces"] & (rows["asymmetry"] > _ASYMMETRIC) & ~rows["fixed"] & (rows["natoms"] > 1)
    if zero.any():
        found.append(
            Finding(
                "forces",
                "error",
                f"all forces are exactly zero in {int(zero.sum()):,} of {len(rows):,} samples, although the "
                "atoms have neighbors on one side",
                "zero probably stands for missing forces; store them as null or NaN",
                tuple(rows["index"][zero].tolist()),
            )
        )
    forces = rows[np.isfinite(rows["force_rms"])]
    apart = forces["closest"] > 0.75
    if apart.any() and np.median(forces["force_rms"][apart]) > _TYPICAL:
        found.append(
            Finding(
                "forces",
                "warning",
                f"the forces are {np.median(forces['force_rms'][apart]):.3g} eV/angstrom (rms) in the median "
                "sample, more than at the melting point of any material",
                "check the unit: 1 eV/angstrom is 23.06 kcal/mol/angstrom and 0.01945 hartree/bohr",
                numbers={"median_rms": float(np.median(forces["force_rms"][apart]))},
            )
        )
    elif apart.any():
        usual = float(np.median(forces["force_rms"]))
        spread = forces["force_max"] > max(30 * usual, 10)
        extreme = ((forces["force_max"] > _EXTREME) | spread) & (forces["closest"] > 0.75)
        if extreme.any():
            worst = forces[extreme][np.argmax(forces["force_max"][extreme])]
            found.append(
                Finding(
                    "forces",
                    "warning",
                    f"the largest force is extreme in {int(extreme.sum()):,} of {len(rows):,} samples, up to "
                    f"{worst['force_max']:.3g} eV/angstrom (median rms {usual:.2g})",
                    "check whether these calculations converged; remove such samples or limit forces",
                    tuple(forces["index"][extreme].tolist()),
                    {"largest": float(worst["force_max"]), "worst": int(worst["index"])},
                )
            )
    return found


def check_stuck(evidence: Evidence) -> list[Finding]:
    """Find samples that have exactly the energy and the forces of another sample with another structure."""
    rows = evidence.rows[np.isfinite(evidence.rows["energy"]) & (evidence.rows["force_rms"] > 1e-3)]
    rows = rows[np.lexsort((rows["index"], rows["force_rms"], rows["energy"], rows["composition"]))]
    same = np.ones(max(len(rows) - 1, 0), dtype=bool)
    for name in ("composition", "energy", "force_rms"):
        same &= np.diff(rows[name]) == 0
    # Rotated copies of a structure have the same labels.
    same &= (np.abs(np.diff(rows["fingerprint"], axis=0)) > SAME_FINGERPRINT).any(axis=1)
    if not same.any():
        return []
    frames = tuple(sorted(rows["index"][1:][same].tolist()))
    return [
        Finding(
            "stuck_labels",
            "error",
            f"{len(frames):,} samples have exactly the energy and the forces of another sample, although "
            "their structures differ",
            "check how labels and structures were joined; remove samples without a calculation of their own",
            frames,
        )
    ]
