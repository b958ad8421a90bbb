"""Errors in physical units, exact over an epoch whatever the sizes of its batches.

torchmetrics adds up errors and counts and divides once at the end, over all ranks.
"""

from __future__ import annotations

from torch import Tensor
from torchmetrics import MeanAbsoluteError, MeanMetric, MeanSquaredError, Metric


def regression_metrics(key: str, extensive: bool) -> dict[str, Metric]:
    """Make ``<key>_mae`` and ``<key>_rmse``; for extensive targets also ``<key>_per_atom_mae``."""
    metrics: dict[str, Metric] = {
        f"{key}_mae": MeanAbsoluteError(),
        f"{key}_rmse": MeanSquaredError(squared=False),
    }
    if extensive:
        metrics[f"{key}_per_atom_mae"] = MeanAbsoluteError()
    return metrics


def classification_metrics(key: str) -> dict[str, Metric]:
    """Make ``<key>_accuracy``."""
    return {f"{key}_accuracy": MeanMetric()}


def update_regression(
    metrics: dict[str, Metric], key: str, prediction: Tensor, target: Tensor, natoms: Tensor
) -> None:
    """Add a batch's errors; ``natoms`` [B] divides those per atom of a [B, 1] target."""
    for name, metric in metrics.items():
        if name == f"{key}_per_atom_mae":
            atoms = natoms.view(-1, 1)
            metric.update((prediction / atoms).reshape(-1), (target / atoms).reshape(-1))
        else:
            metric.update(prediction.reshape(-1), target.reshape(-1))
