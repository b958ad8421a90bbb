"""Check that the forces of a structure sum to zero.

The energy does not change if all atoms move together, so the forces on all atoms sum to zero, in periodic
structures and in molecules. Exceptions are constrained atoms and external fields.
"""

import numpy as np

from mml_data.physics.evidence import Evidence
from mml_data.physics.finding import Finding

__all__ = ["check_net_force"]

_SHARE = 0.1  # of the net force of independent random forces
_PER_ATOM = 0.005  # eV/angstrom


def check_net_force(evidence: Evidence) -> list[Finding]:
    """Compare the net force with that of independent random forces of the same size, ``rms * sqrt(N)``."""
    rows = evidence.rows[~evidence.rows["fixed"] & (evidence.rows["natoms"] > 1)]
    rows = rows[np.isfinite(rows["net_force"])]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = rows["net_force"] / (rows["force_rms"] * np.sqrt(rows["natoms"]))
    per_atom = rows["net_force"] / rows["natoms"]
    wrong = (share > _SHARE) & (per_atom > _PER_ATOM)
    if not len(rows):
        return []
    if not wrong.any():
        text = f"forces sum to zero: at most {per_atom.max():.2g} eV/angstrom per atom are left"
        return [Finding("net_force", "ok", text, "", (), {"largest": float(per_atom.max())})]
    count, total = int(wrong.sum()), len(rows)
    worst = rows[wrong][np.argmax(per_atom[wrong])]
    return [
        Finding(
            "net_force",
            "error" if count > 0.2 * total else "warning",
            f"the forces do not sum to zero in {count:,} of {total:,} samples: the median net force of "
            f"these is {np.median(per_atom[wrong]):.3g} eV/angstrom per atom, {np.median(share[wrong]):.0%} "
            "of that of random forces",
            "check whether forces belong to other atoms (order of atoms), lack some atoms or contain an "
            "external field; mark constrained atoms with the key fixed; subtract a constant offset",
            tuple(rows["index"][wrong].tolist()),
            {"median_share": float(np.median(share[wrong])), "worst": int(worst["index"])},
        )
    ]
