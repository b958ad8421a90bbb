"""Losses of an epoch as metrics, exactly over all ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from mml_tasks.losses.loss_terms import LossTerms
from mml_tasks.losses.metrics import SumMetric

Weight: TypeAlias = float | Tensor
"""Loss weight of a target; a tensor if it is learned."""


class MeanLoss(SumMetric):
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
        self.add_sum("totals", [targets])
        self.add_sum("weights_seen", [targets])

    def update(self, terms: Sequence[LossTerms], weights: Sequence[Weight], first: int = 0) -> None:
        """Add the terms of a batch, each times its weight; ``first`` is the index of the first target."""
        totals = [weight * term.total.detach() for term, weight in zip(terms, weights, strict=True)]
        padding = (first, len(self.totals) - first - len(totals))
        self.totals = self.totals + pad(torch.stack(totals).to(self.totals), padding)
        seen = torch.stack([term.weight for term in terms])
        self.weights_seen = self.weights_seen + pad(seen.to(self.weights_seen), padding)

    def compute(self) -> Tensor:
        """Return the sum of the means. A target without labels adds zero; without any labels, return NaN."""
        total = (self.totals / torch.where(self.weights_seen > 0, self.weights_seen, 1.0)).sum()
        return torch.where((self.weights_seen > 0).any(), total, torch.nan)

    def sums(self) -> Tensor:
        """Return the state of this rank, [2, targets], see `restore`."""
        return torch.stack([self.totals, self.weights_seen])

    def restore(self, sums: Tensor) -> None:
        """Continue from a state that `sums` returned."""
        self.totals, self.weights_seen = sums.to(self.totals).unbind()


def make_loss_metrics(keys: Sequence[str]) -> nn.ModuleDict:
    """Return new metrics of the losses of a task with the targets ``keys``."""
    stages = ("train", "val", "test")
    names = [f"{stage}_{kind}" for stage in stages for kind in ("loss", "weighted_loss")]
    single = ["train_minimized_loss", *(f"train_{key}_loss" for key in keys)]
    return nn.ModuleDict(
        {name: MeanLoss(len(keys)) for name in names} | {name: MeanLoss(1) for name in single}
    )


def loss_metric(metrics: nn.ModuleDict, name: str) -> MeanLoss:
    """Return a metric from a dict of metrics, with its type."""
    return cast("MeanLoss", metrics[name])


def update_loss_metrics(
    metrics: nn.ModuleDict,
    stage: str,
    terms: Mapping[str, LossTerms],
    final: Mapping[str, float],
    weights: Mapping[str, Weight],
    minimized: Tensor | None = None,
) -> dict[str, MeanLoss]:
    """Add the losses of a batch to the losses of the epoch.

    Parameters
    ----------
    metrics
        The metrics, see `make_loss_metrics`.
    stage
        ``"train"``, ``"val"`` or ``"test"``.
    terms
        Losses of the batch by target.
    final
        Weights in ``<stage>_loss``.
    weights
        Current weights. If they differ from the final ones, ``<stage>_weighted_loss`` is updated as well.
    minimized
        Loss that training minimizes, if it is not the weighted sum. Its mean over steps is then logged as
        ``<stage>_weighted_loss``.

    Returns
    -------
    dict
        The updated metrics by the name under which they are logged.
    """
    found = list(terms.values())
    updated = {f"{stage}_loss": loss_metric(metrics, f"{stage}_loss")}
    updated[f"{stage}_loss"].update(found, [final[key] for key in terms])
    name = f"{stage}_weighted_loss"
    if minimized is not None:
        updated[name] = loss_metric(metrics, f"{stage}_minimized_loss")
        updated[name].update([LossTerms(minimized, torch.ones_like(minimized))], [1.0])
    elif any(isinstance(weight, Tensor) or weight != final[key] for key, weight in weights.items()):
        updated[name] = loss_metric(metrics, name)
        updated[name].update(found, [weights[key] for key in terms])
    if stage == "train":
        for key, term in terms.items():
            updated[f"train_{key}_loss"] = loss_metric(metrics, f"train_{key}_loss")
            updated[f"train_{key}_loss"].update([term], [1.0])
    return updated
