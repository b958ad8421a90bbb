"""Name the unit or sign that a factor between two labels points to."""

from collections.abc import Mapping

import numpy as np

__all__ = ["ENERGY_OR_FORCE", "STRESS", "name_factor"]

_HARTREE, _BOHR, _KCAL, _KJ = 27.211386, 0.52917721, 0.0433641, 0.0103643

ENERGY_OR_FORCE: Mapping[float, str] = {
    1 / _KCAL: "energies in kcal/mol",
    1 / _KJ: "energies in kJ/mol",
    1 / _HARTREE: "energies in hartree",
    2 / _HARTREE: "energies in rydberg",
    1000.0: "energies in meV",
    _KCAL: "forces in kcal/mol/angstrom",
    _KJ: "forces in kJ/mol/angstrom",
    _HARTREE / _BOHR: "forces in hartree/bohr",
    _HARTREE / _BOHR / 2: "forces in rydberg/bohr",
    1 / _BOHR: "forces in eV/bohr (or energies in hartree with forces in hartree/bohr)",
    _HARTREE: "forces in hartree/angstrom",
    0.001: "forces in meV/angstrom",
    0.1: "forces in eV/nm",
    _KJ / 10: "forces in kJ/mol/nm",
}
"""Change of the energy, divided by the work of the forces, for labels in other units."""

STRESS: Mapping[float, str] = {
    1602.1766: "stress in kbar",
    160.21766: "stress in GPa",
    160217.66: "stress in MPa",
    1.6021766e11: "stress in Pa",
    1 / (_HARTREE / _BOHR**3): "stress in hartree/bohr^3",
    2 / (_HARTREE / _BOHR**3): "stress in rydberg/bohr^3",
}
"""Stress label, divided by the stress in eV/angstrom^3, for labels in other units."""


def name_factor(factor: float, names: Mapping[float, str], tolerance: float = 0.25) -> str | None:
    """Return the explanation of a factor, or None if none is within the relative `tolerance`.

    A tolerance of 0.25 accepts factors from 0.8 to 1.25 times the exact one. The sign of the factor is
    ignored.
    """
    if not np.isfinite(factor) or factor == 0:
        return None
    distance, name = min((abs(np.log(abs(factor) / known)), name) for known, name in names.items())
    return name if distance < np.log1p(tolerance) else None
