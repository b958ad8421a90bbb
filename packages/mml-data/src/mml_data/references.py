"""Reference energies of the elements, by least squares, from sums over structures."""

from typing import Any, Self

import numpy as np

from mml_data.elements import SYMBOLS

__all__ = ["ReferenceFit"]


class ReferenceFit:
    """Least squares for ``energy = sum over elements of (number of atoms * reference energy)``.

    Only the normal equations are kept, so that structures can be shown one block after the other, and fits of
    parts can be merged. Where the compositions do not determine all references, as where every structure has
    the same one, the solution is that of the smallest norm.
    """

    def __init__(self) -> None:
        size = len(SYMBOLS)
        self.gram = np.zeros((size, size))
        self.moment = np.zeros(size)
        # The same, per atom: what is left over once the references are known is an error per atom.
        self.gram_per_atom = np.zeros((size, size))
        self.moment_per_atom = np.zeros(size)
        self.square_per_atom = 0.0
        self.count = 0

    def add(self, composition: np.ndarray, energy: np.ndarray) -> None:
        """Take in structures: atoms of each element [B, 119] by atomic number, and energies [B]."""
        seen = np.flatnonzero(composition.any(axis=0))
        atoms = composition[:, seen].astype(np.float64)
        natoms = atoms.sum(axis=1)
        shares, per_atom = atoms / natoms[:, None], energy / natoms
        block = np.ix_(seen, seen)
        self.gram[block] += atoms.T @ atoms
        self.moment[seen] += atoms.T @ energy
        self.gram_per_atom[block] += shares.T @ shares
        self.moment_per_atom[seen] += shares.T @ per_atom
        self.square_per_atom += float(np.square(per_atom).sum())
        self.count += len(energy)

    def merge(self, other: Self) -> None:
        """Take in what `other` has seen."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def result(self) -> dict[str, Any]:
        """Return the fit, fit for JSON.

        Returns
        -------
        dict
            ``reference_energies`` by symbol, ``reference_rank`` (how many of them the compositions determine)
            and ``per_atom_residual_std`` (rms of the energy per atom that is left).
        """
        seen = np.flatnonzero(self.gram.diagonal())
        block = np.ix_(seen, seen)
        values, vectors = np.linalg.eigh(self.gram[block])
        # Eigenvalues are squares of singular values: below this they are rounding errors.
        kept = values > values.max(initial=0.0) * 1e-11
        inverse = np.where(kept, 1.0 / np.where(kept, values, 1.0), 0.0)
        solution = vectors @ (inverse * (vectors.T @ self.moment[seen]))
        left = (
            solution @ self.gram_per_atom[block] @ solution
            - 2 * solution @ self.moment_per_atom[seen]
            + self.square_per_atom
        )
        exact = left <= 1e-12 * self.square_per_atom  # nothing but rounding errors
        return {
            "reference_energies": {
                SYMBOLS[number]: float(energy) for number, energy in zip(seen, solution, strict=True)
            },
            "reference_rank": int(kept.sum()),
            "per_atom_residual_std": 0.0 if exact else float(np.sqrt(left / self.count)),
        }
