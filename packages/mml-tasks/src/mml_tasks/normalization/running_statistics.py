"""Compute statistics of targets over a stream of batches, in float64, and merge them across ranks."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import torch
from mml_samples import Batch, Moments, ReferenceFit, atom_counts, count_elements, graph_of
from mml_samples.bin_moments import BinMoments

from mml_tasks.batches import check_not_infinite
from mml_tasks.protocols import Statistics


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
        self.bins: dict[str, BinMoments] = {}
        self.missing: dict[str, int] = {}
        self.fits = {key: ReferenceFit() for key in reference_keys}

    def add(self, batch: Batch) -> None:
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
            if target.dim() == 2 and target.shape[0] == len(natoms) and target.shape[1] > 1:
                self.bins.setdefault(key, BinMoments()).add(target.numpy())
            self.values.setdefault(key, Moments()).add(target[known])
            self.missing[key] = self.missing.get(key, 0) + int((~known).sum())
            if target.numel() != len(natoms):
                continue
            target, known = target.reshape(-1), known.reshape(-1)
            self.per_atom.setdefault(key, Moments()).add((target / natoms)[known])
            if key in self.fits:
                composition = count_elements(graph.atomic_numbers.detach().cpu(), natoms)
                self.fits[key].add(composition[known.numpy()], target[known])

    def merge(self, other: TargetStatistics) -> None:
        """Add the batches that another instance has seen."""
        self.samples += other.samples
        for key, missing in other.missing.items():
            self.missing[key] = self.missing.get(key, 0) + missing
        for mine, theirs in ((self.values, other.values), (self.per_atom, other.per_atom)):
            for key, moments in theirs.items():
                mine.setdefault(key, Moments()).merge(moments)
        for key, bins in other.bins.items():
            self.bins.setdefault(key, BinMoments()).merge(bins)
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
                and math.isclose(moments.std, other.values[key].std, rel_tol=1e-9)
                for key, moments in self.values.items()
            )
        )

    def result(self, source: str) -> dict[str, Statistics]:
        """Return the statistics of `HasTargetStatistics` for each target, with ``source``.

        Targets with a fit of reference energies also have ``reference_energies`` by symbol (eV),
        ``reference_rank`` (the number of them that the compositions determine) and ``per_atom_residual_std``
        (root mean square of the residual energy per atom).
        """
        found: dict[str, Statistics] = {}
        for key, values in self.values.items():
            entry: dict[str, Any] = {"count": values.count, "source": source}
            if self.missing[key]:
                entry["missing"] = self.missing[key]
            if values.count:
                entry |= {"mean": values.mean, "std": values.std, "rms": values.rms}
            if values.count and key in self.per_atom:
                entry |= {"per_atom_mean": self.per_atom[key].mean, "per_atom_std": self.per_atom[key].std}
            if key in self.bins:
                entry |= self.bins[key].result()
            if key in self.fits and self.fits[key].count:
                entry |= self.fits[key].result()
            found[key] = entry
        return found
