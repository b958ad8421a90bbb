"""Find implausible charges and magnetic moments."""

from mml_data.physics.evidence import Evidence
from mml_data.physics.finding import Finding

__all__ = ["check_moments"]


def check_moments(evidence: Evidence) -> list[Finding]:
    """Find total charges above one per atom, and magnetic moments above 10 Bohr magnetons per atom."""
    found = []
    for values, what, advice in (
        (
            evidence.charges,
            "total charge is above 1 e per atom",
            "check whether charge is the number of electrons",
        ),
        (evidence.moments, "magnetic moment is above 10 Bohr magnetons per atom", "check the unit of magmom"),
    ):
        if values:
            worst = max(values, key=lambda index: abs(values[index]))
            found.append(
                Finding(
                    "moments",
                    "warning",
                    f"the {what} in {len(values):,} samples, up to {values[worst]:.3g}",
                    advice,
                    tuple(sorted(values)),
                    {"worst": worst},
                )
            )
    return found
