"""Errors of predictions and of a trivial baseline model, computed with float64 NumPy arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

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
        Predictions and known labels, flattened over structures, atoms and components.
    baseline : float or array, shape (n,)
        Prediction of the trivial model: the mean of the training data, or zero for forces and other vectors.
        The mean of a spectrum differs between its points.
    missing : int
        Number of structures of which a part of the label is missing.
    """

    name: str
    unit: str
    predicted: Array
    target: Array
    baseline: float | Array
    missing: int = 0

    def errors(self) -> dict[str, float | int | str]:
        """Return MAE, RMSE, R2, and MAE and RMSE of the baseline.

        R2 is ``1 - sum((t - p)^2) / sum((t - mean(t))^2)``. It is NaN if all labels are equal. Without any
        label, all errors are NaN and ``count`` is 0. ``missing`` is only present if labels are missing.
        """
        about = {"unit": self.unit, "count": int(self.target.size), **_missing(self.missing)}
        about["baseline"] = float(np.mean(self.baseline)) if np.size(self.baseline) else float("nan")
        if not self.target.size:
            names = ("mae", "rmse", "r2", "baseline_mae", "baseline_rmse")
            return dict.fromkeys(names, float("nan")) | about
        residual = self.predicted - self.target
        trivial = self.baseline - self.target
        spread = float(np.sum((self.target - self.target.mean()) ** 2))
        return {
            "mae": float(np.abs(residual).mean()),
            "rmse": float(np.sqrt((residual**2).mean())),
            "r2": 1.0 - float(np.sum(residual**2)) / spread if spread > 0 else float("nan"),
            "baseline_mae": float(np.abs(trivial).mean()),
            "baseline_rmse": float(np.sqrt((trivial**2).mean())),
            **about,
        }


@dataclass(frozen=True)
class Classification:
    """Predicted classes and labels of a classification target.

    Attributes
    ----------
    name : str
        Name of the target.
    predicted, target : int array, shape (n,)
        Predicted class and known label.
    baseline : int
        The most frequent class of the training data.
    names : mapping from int to str
        Names of the classes. Classes without a name are shown as numbers.
    missing : int
        Number of structures without a label.
    """

    name: str
    predicted: NDArray[np.int64]
    target: NDArray[np.int64]
    baseline: int
    names: Mapping[int, str] = field(default_factory=dict)
    missing: int = 0

    def name_of(self, label: int) -> str:
        """Return the name of a class."""
        return self.names.get(label, str(label))

    def errors(self) -> dict[str, float | int | str]:
        """Return the accuracy, the mean recall over the labels' classes, and the baseline's accuracy.

        Without any label, they are NaN and ``count`` is 0. ``missing`` is only present if labels are missing.
        """
        about = {"baseline": self.baseline, "count": int(self.target.size), **_missing(self.missing)}
        if self.baseline in self.names:
            about["baseline_name"] = self.names[self.baseline]
        if not self.target.size:
            names = ("accuracy", "balanced_accuracy", "baseline_accuracy")
            return dict.fromkeys(names, float("nan")) | about
        right = self.predicted == self.target
        recalls = [float(right[self.target == c].mean()) for c in np.unique(self.target)]
        return {
            "accuracy": float(right.mean()),
            "balanced_accuracy": float(np.mean(recalls)),
            "baseline_accuracy": float((self.target == self.baseline).mean()),
            **about,
        }


def _missing(structures: int) -> dict[str, float | int | str]:
    return {"missing": structures} if structures else {}


Quantity = Regression | Classification
