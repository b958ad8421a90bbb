"""Compute errors in physical units, exactly over an epoch and all ranks, for batches of any size.

torchmetrics sums errors and counts, and divides once at the end. Missing labels are excluded from both sums,
which are in float64 if the device supports it. Updates do not wait for the device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

import torch
from torch import Tensor
from torchmetrics import Metric

from mml_tasks.losses.loss_terms import labeled
from mml_tasks.trainer.precision import supports_float64


class SumMetric(Metric):
    """Base class of metrics whose states are sums in float64, or in float32 on devices without float64."""

    def add_sum(self, name: str, size: Sequence[int] = ()) -> None:
        """Add a state that starts at zero and is summed over ranks."""
        self.add_state(name, torch.zeros(tuple(size), dtype=torch.float64), dist_reduce_fx="sum")

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> Self:
        # torchmetrics keeps the dtype of states if the module is converted, and only moves them.
        if not supports_float64(fn(torch.zeros(())).device):
            for name in self._defaults:
                setattr(self, name, getattr(self, name).to(torch.float32))
                self._defaults[name] = self._defaults[name].to(torch.float32)  # type: ignore[union-attr]
        super()._apply(fn, exclude_state)
        return self


class MaskedMean(SumMetric):
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
        self.add_sum("total")
        self.add_sum("count")

    def update(self, values: Tensor, known: Tensor) -> None:
        """Add the numbers for which ``known``, a bool tensor of the same shape, is True."""
        found = torch.where(known, values, torch.zeros_like(values)).sum(dtype=self.total.dtype)
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
