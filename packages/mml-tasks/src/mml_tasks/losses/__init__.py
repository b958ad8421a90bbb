"""Losses and metrics: loss modules, sums over labeled elements, missing labels, errors."""

__all__ = [
    "epoch_sums",
    "loss_functions",
    "loss_metrics",
    "loss_modules",
    "loss_terms",
    "metrics",
    "missing_labels",
]
