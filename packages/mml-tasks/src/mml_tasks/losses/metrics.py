"""Compute errors in physical units, exactly over an epoch and all ranks, for batches of any size.

torchmetrics sums errors and counts, and divides once at the end. Missing labels are excluded from both sums.
Updates do not wait for the device.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from mml_tasks.losses.loss_terms import labeled


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
    known, error = labeled(target), prediction - target
    for name, metric in metrics.items():
        if name == f"{key}_per_atom_mae":
            metric.update((error / natoms.view(-1, 1)).abs(), known)
        else:
            metric.update(error.square() if name == f"{key}_rmse" else error.abs(), known)
