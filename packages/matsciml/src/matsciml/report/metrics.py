"""Errors of predictions and of a trivial baseline model, computed with float64 NumPy arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Regression:
    """Predictions and labels of a numerical quantity.

    Attributes
    ----------
    name : str
        Name of the quantity, such as ``energy_per_atom``.
    unit : str
        Unit of both arrays. Empty if the quantity has no unit.
    predicted, target : array, shape (n,)
        Predictions and labels, flattened over structures, atoms and components.
    baseline : float
        Prediction of the trivial model for every entry: the mean of the training data, or zero for forces.
    """

    name: str
    unit: str
    predicted: Array
    target: Array
    baseline: float

    def errors(self) -> dict[str, float | int | str]:
        """Return MAE, RMSE, R2, and MAE and RMSE of the baseline.

        R2 is ``1 - sum((t - p)^2) / sum((t - mean(t))^2)``. It is NaN if all labels are equal.
        """
        residual = self.predicted - self.target
        trivial = self.baseline - self.target
        spread = float(np.sum((self.target - self.target.mean()) ** 2))
        return {
            "mae": float(np.abs(residual).mean()),
            "rmse": float(np.sqrt((residual**2).mean())),
            "r2": 1.0 - float(np.sum(residual**2)) / spread if spread > 0 else float("nan"),
            "baseline_mae": float(np.abs(trivial).mean()),
            "baseline_rmse": float(np.sqrt((trivial**2).mean())),
            "baseline": self.baseline,
            "unit": self.unit,
            "count": int(self.target.size),
        }


@dataclass(frozen=True)
class Classification:
    """Predicted classes and labels of a classification target.

    Attributes
    ----------
    name : str
        Name of the target.
    predicted, target : int array, shape (n,)
        Predicted and true class.
    baseline : int
        The most frequent class of the training data.
    """

    name: str
    predicted: NDArray[np.int64]
    target: NDArray[np.int64]
    baseline: int

    def errors(self) -> dict[str, float | int | str]:
        """Return the accuracy, the mean recall over the labels' classes, and the baseline's accuracy."""
        right = self.predicted == self.target
        recalls = [float(right[self.target == c].mean()) for c in np.unique(self.target)]
        return {
            "accuracy": float(right.mean()),
            "balanced_accuracy": float(np.mean(recalls)),
            "baseline_accuracy": float((self.target == self.baseline).mean()),
            "baseline": self.baseline,
            "count": int(self.target.size),
        }


Quantity = Regression | Classification
