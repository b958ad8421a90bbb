"""Convert ``ase.Atoms`` to structures."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from mml_data.importers.source import Structure

__all__ = ["from_atoms", "require_ase"]

_ATOM_RESULTS = ("forces", "energies", "stresses", "charges", "magmoms")


def require_ase(path: Path) -> None:
    """Check that ASE is installed.

    Raises
    ------
    ImportError
        If ASE is not installed. The message contains the install command.
    """
    if find_spec("ase") is None:
        raise ImportError(
            f"reading {str(path)!r} requires ASE, which is not installed: pip install 'mml-data[ase]'"
        )


def from_atoms(atoms: Any, **more: Any) -> Structure:
    """Convert an ``ase.Atoms`` object to a structure.

    Parameters
    ----------
    atoms
        Structure. The results of its calculator, its ``info`` and its arrays become labels. Nothing is
        calculated. Atoms that a constraint fixes become the label ``fixed``.
    **more
        Further labels of the structure.

    Returns
    -------
    dict
        Structure in the form described in `mml_data.importers.structure`.
    """
    results = {} if atoms.calc is None else atoms.calc.results
    results = {name: value for name, value in results.items() if value is not None}
    labels = {name: value for name, value in results.items() if name not in _ATOM_RESULTS}
    arrays = {name: value for name, value in atoms.arrays.items() if name not in ("numbers", "positions")}
    arrays |= {name: value for name, value in results.items() if name in _ATOM_RESULTS}
    fixed = _fixed(atoms)
    if fixed is not None:
        arrays["fixed"] = fixed
    return {
        "atomic_numbers": atoms.numbers,
        "positions": atoms.positions,
        "cell": np.array(atoms.cell) if atoms.cell.any() else None,
        "pbc": [bool(flag) for flag in atoms.pbc],
        "labels": {**labels, **atoms.info, **more},
        "atom_labels": arrays,
    }


def _fixed(atoms: Any) -> np.ndarray | None:
    """Return whether all coordinates of each atom are fixed, [N] bool, or None without such constraints."""
    fixed = np.zeros(len(atoms), dtype=bool)
    found = False
    for constraint in atoms.constraints:
        if type(constraint).__name__ == "FixAtoms" or (
            type(constraint).__name__ == "FixCartesian" and np.all(constraint.mask)
        ):
            fixed[constraint.index] = True
            found = True
    return fixed if found else None
