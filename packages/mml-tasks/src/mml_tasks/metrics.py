"""Errors in physical units, exact over an epoch and all ranks whatever the sizes of their batches.

torchmetrics adds up errors and counts and divides once at the end. Missing labels are in neither, and
updating waits for no device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from torchmetrics import Metric

from mml_tasks.loss_terms import LossTerms, labelled


class MaskedMean(Metric):
    """Mean of numbers where a mask says so, or its square root; NaN where nothing was ever seen.

    Parameters
    ----------
    root
        Whether the result is the square root of the mean.
    """

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, root: bool = False) -> None:
        super().__init__()
        self.root = root
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(()), dist_reduce_fx="sum")

    def update(self, values: Tensor, known: Tensor) -> None:
        """Add numbers where ``known``, a bool tensor of their shape, holds."""
        found = torch.where(known, values, torch.zeros_like(values)).sum()
        self.total = self.total + found.to(self.total)
        self.count = self.count + known.sum().to(self.count)

    def compute(self) -> Tensor:
        """Divide."""
        mean = self.total / self.count
        return mean.sqrt() if self.root else mean


class MeanLoss(Metric):
    """Sum over targets of the mean of each one's loss, over the labels of an epoch and all ranks.

    Parameters
    ----------
    targets
        How many targets.
    """

    full_state_update = False
    totals: Tensor
    weights_seen: Tensor

    def __init__(self, targets: int) -> None:
        super().__init__()
        self.add_state("totals", torch.zeros(targets), dist_reduce_fx="sum")
        self.add_state("weights_seen", torch.zeros(targets), dist_reduce_fx="sum")

    def update(self, terms: Sequence[LossTerms], weights: Sequence[Any], first: int = 0) -> None:
        """Add the terms of a batch, each times its weight; ``first`` is the index of the first target."""
        totals = [weight * term.total.detach() for term, weight in zip(terms, weights, strict=True)]
        padding = (first, len(self.totals) - first - len(totals))
        self.totals = self.totals + pad(torch.stack(totals).to(self.totals), padding)
        seen = torch.stack([term.weight for term in terms])
        self.weights_seen = self.weights_seen + pad(seen.to(self.weights_seen), padding)

    def compute(self) -> Tensor:
        """Divide and add up; a target without any label adds nothing."""
        return (self.totals / torch.where(self.weights_seen > 0, self.weights_seen, 1.0)).sum()

    def sums(self) -> Tensor:
        """Return the state of this rank, [2, targets], see `restore`."""
        return torch.stack([self.totals, self.weights_seen])

    def restore(self, sums: Tensor) -> None:
        """Continue from sums that `sums` has returned."""
        self.totals, self.weights_seen = sums.to(self.totals).unbind()


def regression_metrics(key: str, extensive: bool) -> dict[str, Metric]:
    """Make ``<key>_mae`` and ``<key>_rmse``; for extensive targets also ``<key>_per_atom_mae``."""
    metrics: dict[str, Metric] = {f"{key}_mae": MaskedMean(), f"{key}_rmse": MaskedMean(root=True)}
    if extensive:
        metrics[f"{key}_per_atom_mae"] = MaskedMean()
    return metrics


def classification_metrics(key: str) -> dict[str, Metric]:
    """Make ``<key>_accuracy``."""
    return {f"{key}_accuracy": MaskedMean()}


def update_regression(
    metrics: dict[str, Metric], key: str, prediction: Tensor, target: Tensor, natoms: Tensor
) -> None:
    """Add a batch's errors; ``natoms`` [B] divides those per atom of a [B, 1] target, NaN is no label."""
    known, error = labelled(target), prediction - target
    for name, metric in metrics.items():
        if name == f"{key}_per_atom_mae":
            metric.update((error / natoms.view(-1, 1)).abs(), known)
        else:
            metric.update(error.square() if name == f"{key}_rmse" else error.abs(), known)
