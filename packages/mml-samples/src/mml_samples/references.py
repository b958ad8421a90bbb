"""Fit reference energies of the elements by least squares, in one pass over blocks of structures."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mml_samples.elements import SYMBOLS

# Singular values below this fraction of the largest one are rounding errors, because compositions are
# integers.
_RANK = 1e-10
# Residuals below this fraction of the energies are rounding errors.
_EXACT = 1e-13


def count_elements(atomic_numbers: ArrayLike, num_atoms: ArrayLike) -> NDArray[np.int64]:
    """Count the atoms of each element in each structure.

    Parameters
    ----------
    atomic_numbers
        Atomic numbers of all atoms, one structure after the other, [N] integers.
    num_atoms
        Number of atoms of each structure, [B] integers.

    Returns
    -------
    NDArray
        Number of atoms by structure and atomic number, [B, 119] int64.

    Raises
    ------
    ValueError
        If an atomic number is not from 1 to 118.
    """
    numbers, counts = np.asarray(atomic_numbers), np.asarray(num_atoms)
    if numbers.size and not 0 < numbers.min() <= numbers.max() < len(SYMBOLS):
        raise ValueError(
            f"atomic_numbers must be from 1 to 118, got numbers from {numbers.min()} to {numbers.max()}"
        )
    rows = np.repeat(np.arange(counts.size) * len(SYMBOLS), counts)
    flat = np.bincount(rows + numbers, minlength=counts.size * len(SYMBOLS))
    return flat.reshape(counts.size, len(SYMBOLS))


class ReferenceFit:
    """Least-squares fit of ``energy = sum over elements of (number of atoms * reference energy)``.

    Structures can be added block by block, and partial fits can be merged: only the triangular factors of a
    QR decomposition are stored. Unlike the normal equations, these factors do not square the energies. A
    spread of 1 meV is therefore still resolved for all-electron energies of 500,000 eV per atom. If the
    compositions do not determine all reference energies, for example because all structures have the same
    composition, the solution has the smallest norm.

    Attributes
    ----------
    count
        Number of structures.
    """

    def __init__(self) -> None:
        self._totals = _Triangle()
        # The same equations divided by the number of atoms, because the residual is an error per atom.
        self._per_atom = _Triangle()
        self.count = 0

    def add(self, composition: ArrayLike, energy: ArrayLike) -> None:
        """Add structures.

        Parameters
        ----------
        composition
            Number of atoms of each element by atomic number, [B, 119]; see `count_elements`.
        energy
            Total energies, [B].
        """
        composition, energy = np.asarray(composition), np.asarray(energy, dtype=np.float64)
        if not energy.size:
            return
        seen = np.flatnonzero(composition.any(axis=0))
        atoms = composition[:, seen].astype(np.float64)
        num_atoms = atoms.sum(axis=1)
        self._totals.add(seen, np.column_stack([atoms, energy]))
        self._per_atom.add(seen, np.column_stack([atoms / num_atoms[:, None], energy / num_atoms]))
        self.count += len(energy)

    def merge(self, other: Self) -> None:
        """Add the structures that another instance has collected."""
        self._totals.add(other._totals.columns, other._totals.factor)
        self._per_atom.add(other._per_atom.columns, other._per_atom.factor)
        self.count += other.count

    def result(self) -> dict[str, Any]:
        """Return the result of the fit as JSON-serializable values.

        Returns
        -------
        dict
            ``reference_energies`` by symbol, ``reference_rank`` (the number of reference energies that the
            compositions determine) and ``per_atom_residual_std`` (rms of the residual energy per atom).
        """
        seen, factor = self._totals.columns, self._totals.factor
        solution, _, rank, _ = np.linalg.lstsq(factor[:, :-1], factor[:, -1], rcond=_RANK)
        per_atom = self._per_atom.factor
        left = np.linalg.norm(per_atom[:, -1] - per_atom[:, :-1] @ solution)
        exact = left <= _EXACT * np.linalg.norm(per_atom[:, -1])
        return {
            "reference_energies": {
                SYMBOLS[number]: float(energy) for number, energy in zip(seen, solution, strict=True)
            },
            "reference_rank": int(rank),
            "per_atom_residual_std": 0.0 if exact else float(left / np.sqrt(self.count)),
        }


class _Triangle:
    """Triangular factor of the QR decomposition of all rows so far.

    Attributes
    ----------
    columns
        Atomic numbers of the n elements that have occurred, ascending.
    factor
        Triangular factor, [at most n + 1, n + 1]. Its columns have the same scalar products as the columns of
        the rows. The last column is that of the energies.
    """

    def __init__(self) -> None:
        self.columns = np.zeros(0, dtype=np.int64)
        self.factor = np.zeros((0, 1))

    def add(self, columns: NDArray[np.int64], rows: NDArray[np.float64]) -> None:
        """Add rows [B, m + 1], whose columns are m elements and the energy."""
        union = np.union1d(self.columns, columns)
        stacked = np.zeros((len(self.factor) + len(rows), len(union) + 1))
        for some, where, start in ((self.factor, self.columns, 0), (rows, columns, len(self.factor))):
            places = np.append(np.searchsorted(union, where), len(union))
            stacked[start : start + len(some), places] = some
        self.columns = union
        self.factor = np.asarray(np.linalg.qr(stacked, mode="r"))
