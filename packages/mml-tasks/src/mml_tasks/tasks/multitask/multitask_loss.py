"""Loss of an epoch over all tasks of a `MultiTaskLitModule`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import pytorch_lightning as pl
from torch import Tensor, nn

from mml_tasks.losses.loss_metrics import MeanLoss, Weight, loss_metric
from mml_tasks.losses.loss_terms import LossTerms

logger = logging.getLogger(__name__)


class JointLoss:
    """Weighted sum of the tasks' losses over an epoch, ``train_loss``, ``val_loss`` and ``test_loss``.

    ``<stage>_weighted_loss`` is the same sum with the current weights. It is logged only if they differ from
    the final ones.

    Parameters
    ----------
    metrics
        The metrics by name. The module registers them as its own, so that they are moved to its device.
    """

    def __init__(self, metrics: nn.ModuleDict) -> None:
        self.metrics = metrics
        self._first: dict[str, int] = {}
        self._evaluated: dict[str, set[str]] = {"train": set(), "val": set(), "test": set()}
        self._weights_change = False

    def build(self, keys: Mapping[str, Sequence[str]]) -> None:
        """Create the metrics; ``keys`` are the targets of each task by its name."""
        count = 0
        for name, targets in keys.items():
            self._first[name] = count
            count += len(targets)
        for stage in self._evaluated:
            for kind in ("loss", "weighted_loss"):
                self.metrics[f"{stage}_{kind}"] = MeanLoss(count)

    def add(
        self,
        stage: str,
        name: str,
        terms: Mapping[str, LossTerms],
        final: Mapping[str, float],
        weights: Mapping[str, Weight],
    ) -> None:
        """Add the losses of a task's batch.

        Parameters
        ----------
        stage
            ``"train"``, ``"val"`` or ``"test"``.
        name
            Name of the task.
        terms
            Losses by target. If they are empty, nothing is added.
        final, weights
            Final and current weight of each target, times the weight of the task.
        """
        if not terms:
            return
        self._evaluated[stage].add(name)
        found, first = list(terms.values()), self._first[name]
        finals, now = [final[key] for key in terms], [weights[key] for key in terms]
        loss_metric(self.metrics, f"{stage}_loss").update(found, finals, first)
        loss_metric(self.metrics, f"{stage}_weighted_loss").update(found, now, first)
        self._weights_change |= any(isinstance(weight, Tensor) for weight in now) or finals != now

    def log(self, module: pl.LightningModule, stage: str) -> None:
        """Log the losses of the epoch as metrics, which Lightning computes on all ranks together."""
        for name in [f"{stage}_loss"] + [f"{stage}_weighted_loss"] * self._weights_change:
            in_bar = name in ("val_loss", "test_loss")
            module.log(name, loss_metric(self.metrics, name), prog_bar=in_bar, batch_size=1)

    def report_left_out(self, stage: str, sanity_checking: bool) -> None:
        """Log a warning that names the tasks without a batch in this epoch, except after a sanity check."""
        left_out = [name for name in self._first if name not in self._evaluated[stage]]
        self._evaluated[stage] = set()
        if left_out and not sanity_checking:
            logger.warning(
                "%s_loss does not include %s, because no batch of their data was evaluated. Check that each "
                "data set has a %s split, and increase limit_%s_batches, which may exclude the last data "
                "sets",
                stage,
                ", ".join(left_out),
                stage,
                stage,
            )
