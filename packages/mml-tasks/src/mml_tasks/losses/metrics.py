"""Compute errors in physical units, exactly over an epoch and all ranks, for batches of any size.

torchmetrics sums errors and counts, and divides once at the end. Missing labels are excluded from both sums.
Updates do not wait for the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from torchmetrics import Metric

from mml_tasks.losses.loss_terms import LossTerms, labelled


class MaskedMean(Metric):
    """Mean of the numbers selected by a mask, or the square root of this mean; NaN if no number was selected.

    Parameters
    ----------
    root
        Whether to return the square root of the mean.
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
        """Add the numbers for which ``known``, a bool tensor of the same shape, is True."""
        found = torch.where(known, values, torch.zeros_like(values)).sum()
        self.total = self.total + found.to(self.total)
        self.count = self.count + known.sum().to(self.count)

    def compute(self) -> Tensor:
        """Return the mean, or its square root."""
        mean = self.total / self.count
        return mean.sqrt() if self.root else mean


class MeanLoss(Metric):
    """Weighted sum over targets of the mean loss of each target, over the labels of an epoch and all ranks.

    Parameters
    ----------
    targets
        Number of targets.
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
        """Return the sum of the means. A target without labels adds zero."""
        return (self.totals / torch.where(self.weights_seen > 0, self.weights_seen, 1.0)).sum()

    def sums(self) -> Tensor:
        """Return the state of this rank, [2, targets], see `restore`."""
        return torch.stack([self.totals, self.weights_seen])

    def restore(self, sums: Tensor) -> None:
        """Continue from a state that `sums` returned."""
        self.totals, self.weights_seen = sums.to(self.totals).unbind()


def regression_metrics(key: str, extensive: bool) -> dict[str, Metric]:
    """Return metrics ``<key>_mae`` and ``<key>_rmse``, and ``<key>_per_atom_mae`` for extensive targets."""
    metrics: dict[str, Metric] = {f"{key}_mae": MaskedMean(), f"{key}_rmse": MaskedMean(root=True)}
    if extensive:
        metrics[f"{key}_per_atom_mae"] = MaskedMean()
    return metrics


def classification_metrics(key: str) -> dict[str, Metric]:
    """Return the metric ``<key>_accuracy``."""
    return {f"{key}_accuracy": MaskedMean()}


def update_regression(
    metrics: dict[str, Metric], key: str, prediction: Tensor, target: Tensor, natoms: Tensor
) -> None:
    """Add the errors of a batch; NaN is a missing label.

    For the error per atom, errors of a [B, 1] target are divided by ``natoms`` [B].
    """
    known, error = labelled(target), prediction - target
    for name, metric in metrics.items():
        if name == f"{key}_per_atom_mae":
            metric.update((error / natoms.view(-1, 1)).abs(), known)
        else:
            metric.update(error.square() if name == f"{key}_rmse" else error.abs(), known)
