"""Conversion of the units that file formats define to eV, angstrom, eV/angstrom and eV/angstrom^3.

The factors follow from the constants of CODATA 2018: the elementary charge and the Avogadro constant are
exact there, https://physics.nist.gov/cuu/Constants/.
"""

import numpy as np
from numpy.typing import ArrayLike

__all__ = [
    "BOHR",
    "HARTREE",
    "KBAR",
    "KCAL_PER_MOL",
    "VASP_ORDER",
    "VOIGT_ORDER",
    "stress_from_vasp",
    "stress_from_virial",
    "symmetric",
]

_ELEMENTARY_CHARGE = 1.602176634e-19  # C
_AVOGADRO = 6.02214076e23  # 1/mol

HARTREE = 27.211386245988
"""Hartree in eV."""

BOHR = 0.529177210903
"""Bohr radius in angstrom."""

KCAL_PER_MOL = 4184 / _AVOGADRO / _ELEMENTARY_CHARGE
"""Thermochemical kcal/mol in eV."""

KBAR = 1e8 * 1e-30 / _ELEMENTARY_CHARGE
"""Kilobar in eV/angstrom^3."""

VOIGT_ORDER = ("xx", "yy", "zz", "yz", "xz", "xy")
"""Voigt's order of the six components, which ASE uses."""

VASP_ORDER = ("xx", "yy", "zz", "xy", "yz", "xz")
"""Order of the six components in the OUTCAR of VASP (``XX YY ZZ XY YZ ZX``)."""


def symmetric(components: ArrayLike, order: tuple[str, ...] = VOIGT_ORDER) -> np.ndarray:
    """Return the symmetric [3, 3] matrix with the six `components`.

    Raises
    ------
    ValueError
        If there are not six components.
    """
    values = np.asarray(components, dtype=np.float64)
    if values.shape != (6,):
        raise ValueError(f"expected six components {' '.join(order)}, got the shape {list(values.shape)}")
    matrix = np.empty((3, 3))
    for name, value in zip(order, values, strict=True):
        row, column = ("xyz".index(axis) for axis in name)
        matrix[row, column] = matrix[column, row] = value
    return matrix


def stress_from_vasp(stress: ArrayLike, order: tuple[str, ...] = VASP_ORDER) -> np.ndarray:
    """Convert a stress of VASP, [3, 3] or [6] in kilobar, to eV/angstrom^3 with the sign of ASE, [3, 3].

    VASP reports the pressure of the material as positive, ASE as negative:
    https://www.vasp.at/wiki/index.php/Stress and `ase.calculators.vasp`.
    """
    values = np.asarray(stress, dtype=np.float64)
    return -KBAR * (symmetric(values, order) if values.size == 6 else values.reshape(3, 3))


def stress_from_virial(virial: ArrayLike, cell: ArrayLike) -> np.ndarray | None:
    """Convert a virial, [3, 3] in eV, to the stress of ASE, ``-virial / volume``, [3, 3].

    Returns None if the cell has no volume.
    """
    volume = abs(float(np.linalg.det(np.asarray(cell, dtype=np.float64).reshape(3, 3))))
    if volume < 1e-12:
        return None
    return -np.asarray(virial, dtype=np.float64).reshape(3, 3) / volume
