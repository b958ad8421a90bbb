"""Compute statistics of targets over a stream of batches, in float64, and merge them across ranks."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from mml_tasks.batches import atom_counts, check_not_infinite, graph_of
from mml_tasks.elements import SYMBOLS


class Moments:
    """Count, mean and sum of squared deviations of a stream of numbers.

    Blocks are merged with the formula of Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm
    for computing sample variances" (1979), which remains accurate if the mean is large compared with the
    spread.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0
        self.deviations = 0.0

    def add(self, values: Tensor) -> None:
        """Add finite numbers of any shape."""
        block = Moments()
        values = values.detach().to("cpu", torch.float64)
        block.count = values.numel()
        if block.count:
            block.mean = float(values.mean())
            block.deviations = float((values - block.mean).square().sum())
        self.merge(block)

    def merge(self, other: Moments) -> None:
        """Add the numbers that another instance has seen."""
        total = self.count + other.count
        if total == 0:
            return
        delta = other.mean - self.mean
        self.deviations += other.deviations + delta * delta * self.count * other.count / total
        self.mean += delta * other.count / total
        self.count = total

    @property
    def std(self) -> float:
        """Standard deviation of the population."""
        return math.sqrt(self.deviations / self.count)

    @property
    def rms(self) -> float:
        """Root mean square."""
        return math.sqrt(self.deviations / self.count + self.mean * self.mean)


class ReferenceFit:
    """Least-squares fit of ``energy = sum over elements of atoms * reference``, from sums over structures.

    If the compositions do not determine all references, for example if all structures have the same
    composition, the result is the solution with the smallest norm.
    """

    def __init__(self) -> None:
        size = len(SYMBOLS)
        self.gram = torch.zeros(size, size, dtype=torch.float64)
        self.moment = torch.zeros(size, dtype=torch.float64)
        # The same sums per atom, from which `solve` computes the residual energy per atom.
        self.gram_per_atom = torch.zeros(size, size, dtype=torch.float64)
        self.moment_per_atom = torch.zeros(size, dtype=torch.float64)
        self.square_per_atom = 0.0
        self.count = 0

    def add(self, composition: Tensor, energy: Tensor) -> None:
        """Add structures: atoms of each element [B, 119] by atomic number, and energies [B] in eV."""
        composition, energy = composition.to(torch.float64), energy.to("cpu", torch.float64)
        self.gram += composition.T @ composition
        self.moment += composition.T @ energy
        atoms = composition.sum(dim=1)
        fractions, per_atom = composition / atoms.unsqueeze(1), energy / atoms
        self.gram_per_atom += fractions.T @ fractions
        self.moment_per_atom += fractions.T @ per_atom
        self.square_per_atom += float(per_atom.square().sum())
        self.count += len(energy)

    def merge(self, other: ReferenceFit) -> None:
        """Add the structures that another instance has seen."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def solve(self) -> tuple[dict[int, float], int, float]:
        """Return references by atomic number (eV), the rank of the fit, and the rms error per atom (eV)."""
        seen = torch.nonzero(self.gram.diagonal()).view(-1)
        values, vectors = torch.linalg.eigh(self.gram[seen][:, seen])
        # Eigenvalues are squared singular values; below this threshold, they are rounding errors.
        kept = values > values.max() * 1e-11
        inverse = torch.where(kept, 1.0 / torch.where(kept, values, 1.0), 0.0)
        solution = vectors @ (inverse * (vectors.T @ self.moment[seen]))
        left = (
            solution @ self.gram_per_atom[seen][:, seen] @ solution
            - 2 * solution @ self.moment_per_atom[seen]
            + self.square_per_atom
        )
        exact = float(left) <= 1e-12 * self.square_per_atom  # only rounding errors
        rms = 0.0 if exact else math.sqrt(float(left) / self.count)
        return dict(zip(seen.tolist(), solution.tolist(), strict=True)), int(kept.sum()), rms


class TargetStatistics:
    """Statistics of every target of a stream of batches.

    Parameters
    ----------
    reference_keys
        Targets for which reference energies are fitted.
    """

    def __init__(self, reference_keys: Collection[str] = ()) -> None:
        self.samples = 0
        self.values: dict[str, Moments] = {}
        self.per_atom: dict[str, Moments] = {}
        self.missing: dict[str, int] = {}
        self.fits = {key: ReferenceFit() for key in reference_keys}

    def add(self, batch: Mapping[str, Any]) -> None:
        """Add a batch; NaN is a missing label.

        Raises
        ------
        ValueError
            If the batch has no graph, or a label is infinite.
        """
        graph = graph_of(batch)
        natoms = atom_counts(graph).cpu()
        self.samples += len(natoms)
        for key, target in batch.get("targets", {}).items():
            check_not_infinite(key, target, batch)
            target = target.detach().to("cpu", torch.float64)
            known = ~torch.isnan(target)
            self.values.setdefault(key, Moments()).add(target[known])
            self.missing[key] = self.missing.get(key, 0) + int((~known).sum())
            if target.numel() != len(natoms):
                continue
            target, known = target.reshape(-1), known.reshape(-1)
            self.per_atom.setdefault(key, Moments()).add((target / natoms)[known])
            if key in self.fits:
                self.fits[key].add(_composition(graph, natoms)[known], target[known])

    def merge(self, other: TargetStatistics) -> None:
        """Add the batches that another instance has seen."""
        self.samples += other.samples
        for key, missing in other.missing.items():
            self.missing[key] = self.missing.get(key, 0) + missing
        for mine, theirs in ((self.values, other.values), (self.per_atom, other.per_atom)):
            for key, moments in theirs.items():
                mine.setdefault(key, Moments()).merge(moments)
        for key, fit in other.fits.items():
            self.fits[key].merge(fit)

    def saw_the_same(self, other: TargetStatistics) -> bool:
        """Return whether another instance has seen the same data, possibly in a different order."""
        return (
            self.samples == other.samples
            and self.missing == other.missing
            and all(
                key in other.values
                and moments.count == other.values[key].count
                and math.isclose(moments.mean, other.values[key].mean, rel_tol=1e-9)
                and math.isclose(moments.deviations, other.values[key].deviations, rel_tol=1e-9)
                for key, moments in self.values.items()
            )
        )

    def result(self, source: str) -> dict[str, dict[str, Any]]:
        """Return the statistics of `HasTargetStatistics` for each target, with ``source``.

        Targets with a fit of reference energies also have ``reference_energies`` by symbol (eV),
        ``reference_rank`` (the number of them that the compositions determine) and ``per_atom_residual_std``
        (root mean square of the residual energy per atom).
        """
        found: dict[str, dict[str, Any]] = {}
        for key, values in self.values.items():
            entry: dict[str, Any] = {"count": values.count, "source": source}
            if self.missing[key]:
                entry["missing"] = self.missing[key]
            if values.count:
                entry |= {"mean": values.mean, "std": values.std, "rms": values.rms}
            if values.count and key in self.per_atom:
                entry |= {"per_atom_mean": self.per_atom[key].mean, "per_atom_std": self.per_atom[key].std}
            if key in self.fits and self.fits[key].count:
                references, rank, rms = self.fits[key].solve()
                entry |= {
                    "reference_energies": {SYMBOLS[n]: energy for n, energy in references.items()},
                    "reference_rank": rank,
                    "per_atom_residual_std": rms,
                }
            found[key] = entry
        return found


def _composition(graph: Any, natoms: Tensor) -> Tensor:
    """Return the number of atoms of each element in each structure, [B, 119]."""
    numbers = graph.atomic_numbers.detach().cpu()
    if len(numbers) and not 0 < int(numbers.min()) <= int(numbers.max()) < len(SYMBOLS):
        raise ValueError(
            f"atomic numbers go from {int(numbers.min())} to {int(numbers.max())}: reference energies are "
            "for elements, 1 to 118"
        )
    structure = torch.arange(len(natoms)).repeat_interleave(natoms)
    flat = torch.bincount(structure * len(SYMBOLS) + numbers, minlength=len(natoms) * len(SYMBOLS))
    return flat.view(len(natoms), len(SYMBOLS))
