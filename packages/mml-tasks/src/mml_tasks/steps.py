"""What happens to a batch: outputs, targets, weighted losses, logged errors."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, ClassVar, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerStatus
from torch import Tensor, nn
from torchmetrics import Metric

from mml_tasks.batches import align_target, atom_counts, check_not_infinite, find_target, graph_of, samples_of
from mml_tasks.loss_modules import TargetLoss
from mml_tasks.loss_terms import LossTerms, combine, loss_terms
from mml_tasks.losses import check_loss_scaling
from mml_tasks.metrics import update_regression
from mml_tasks.missing_labels import MissingLabels
from mml_tasks.normalizer import Normalizers

logger = logging.getLogger(__name__)


class TaskSteps(pl.LightningModule):
    """The steps of every task; `BaseTaskModule` builds what they work with.

    The loss is ``sum(task_loss_scaling[key] * loss[key](output, target))`` over ``task_keys``, in normalised
    units; each target's is the mean over the labelled atoms or structures of all ranks' batches of the step.
    Predictions and metrics are in physical units and unweighted.
    """

    extensive_keys: ClassVar[frozenset[str]] = frozenset()
    """Targets that grow with the number of atoms; their loss is taken per atom."""

    task_keys: list[str] | None
    task_loss_scaling: dict[str, float]
    normalizers: Normalizers
    losses: nn.ModuleDict
    metrics: nn.ModuleDict
    loss_metrics: nn.ModuleDict
    last_losses: dict[str, Tensor]
    """Each target's unweighted loss of the last training batch; for callbacks such as `SoftAdapt`."""
    loss_weighting: nn.Module | None
    """What makes one number of the scaled losses in training, if not their sum; see `UncertaintyLoss`."""

    def __init__(self) -> None:
        super().__init__()
        self._from_first_batch = False
        self._missing = {stage: MissingLabels() for stage in ("train", "val", "test")}

    def normalized_outputs(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return every output of the batch in the units of the loss."""
        raise NotImplementedError

    def update_metrics(
        self, metrics: dict[str, Metric], key: str, prediction: Tensor, target: Tensor, natoms: Tensor
    ) -> None:
        """Add a batch in physical units to a target's metrics."""
        update_regression(metrics, key, prediction, target, natoms)

    def check_target(self, key: str, target: Tensor, batch: Mapping[str, Any]) -> None:
        """Refuse values of one target that cannot be learned from; NaN is a missing label."""
        check_not_infinite(key, target, batch)

    def target_of(self, key: str, target: Tensor, output: Tensor) -> Tensor:
        """Return the target as the metrics and the loss compare it, in physical units."""
        return align_target(key, target, output)

    def loss_arguments(self, key: str, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return output and target, in the units of the loss, in the shapes that the loss module takes."""
        return output, target

    def check_batch(self, batch: Mapping[str, Any]) -> None:
        """Refuse what cannot be learned or predicted from; called while the batch is on the host."""
        if self.trainer.predicting or self.trainer.testing:
            self.normalizers.check_elements(graph_of(batch).atomic_numbers, samples_of(batch))
        if self.trainer.predicting:
            return
        missing = None if self.trainer.sanity_checking else self._missing[self._stage()]
        for key in self.task_keys or []:
            target = find_target(batch, key)
            self.check_target(key, target, batch)
            if key in self.normalizers and self.normalizers.of(key).has_references:
                atoms = _labelled_atoms(graph_of(batch), target)
                self.normalizers.check_elements(atoms, samples_of(batch))
            if missing is not None:
                missing.add(key, target)

    def _on_before_batch_transfer(self, batch: Any, dataloader_idx: int = 0) -> Any:
        # Here looking at values waits for no device. The public hook of this name would not do: where there
        # is a data module, Lightning warns that both could have one, and calls only one of them.
        self.check_batch(batch)
        return super()._on_before_batch_transfer(batch, dataloader_idx)

    # ---------------------------------------------------------------- steps

    def forward(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return every output of the batch, by name, in physical units.

        Raises
        ------
        ValueError
            If the batch holds an element that has no reference energy.
        """
        self.normalizers.check_elements(graph_of(batch).atomic_numbers, samples_of(batch))
        return self._denormalize(self.normalized_outputs(batch), batch)

    def training_step(self, batch: Mapping[str, Any], batch_idx: int) -> Tensor:
        """Return this rank's loss of a batch, whose mean over ranks is the loss of the step."""
        self._from_first_batch |= batch_idx == 0  # not so where a run goes on within an epoch
        outputs = self.normalized_outputs(batch)
        terms = self.loss_terms(outputs, self._targets(batch, outputs), batch)
        losses = combine(terms)
        self.last_losses = {key: loss.detach() for key, loss in losses.items()}
        total = self.total_loss(losses, self.loss_weighting)
        if self._runs():
            structures = len(atom_counts(graph_of(batch)))
            self._log_losses("train", terms, structures, total if self.loss_weighting else None)
        return total

    def validation_step(self, batch: Mapping[str, Any], batch_idx: int) -> dict[str, Any]:
        """Log loss and errors; return predictions and targets in physical units, and the samples' names."""
        return self._evaluate(batch, "val")

    def test_step(self, batch: Mapping[str, Any], batch_idx: int) -> dict[str, Any]:
        """Log loss and errors; return predictions and targets in physical units, and the samples' names."""
        return self._evaluate(batch, "test")

    def predict_step(self, batch: Mapping[str, Any], batch_idx: int) -> dict[str, Any]:
        """Return predictions in physical units, and the samples' names."""
        outputs = self._denormalize(self.normalized_outputs(batch), batch)
        return {
            "predictions": {key: value.detach() for key, value in outputs.items()},
            "natoms": atom_counts(graph_of(batch)),
            "sample_id": batch.get("sample_id"),
        }

    def loss_terms(
        self, outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor], batch: Mapping[str, Any]
    ) -> dict[str, LossTerms]:
        """Return the sum of each target's loss over the batch's labels, unweighted, and their count.

        Parameters
        ----------
        outputs
            By name, in the units of the loss.
        targets
            By name, in physical units, NaN where a label is missing.
        batch
            Where they come from.

        Raises
        ------
        ValueError
            If a loss gives neither one number nor one for each element or row of its target.
        """
        graph = graph_of(batch)
        natoms = atom_counts(graph)
        found = {}
        for key, physical in targets.items():
            output, loss = outputs[key], self.losses[key]
            extensive = key in self.extensive_keys
            target = self.normalizers.norm(key, physical, natoms, graph.atomic_numbers)
            if extensive and not (isinstance(loss, TargetLoss) and loss.takes_totals):
                atoms = natoms.view(-1, 1)
                output, target = output / atoms, target / atoms
            output, target = self.loss_arguments(key, output, target)
            try:
                found[key] = loss_terms(loss, output, target, natoms, physical)
            except ValueError as error:
                raise ValueError(f"target {key!r}: {error}") from error
        return found

    def total_loss(self, losses: Mapping[str, Tensor], weighting: nn.Module | None = None) -> Tensor:
        """Return the sum of the targets' scaled losses, or what ``weighting`` makes of them."""
        check_loss_scaling(self.task_loss_scaling, losses)
        scaled = {key: self._weight(key) * loss for key, loss in losses.items()}
        return torch.stack(list(scaled.values())).sum() if weighting is None else weighting(scaled)

    def on_train_epoch_end(self) -> None:
        """Log how many labels were missing; refuse a target that no sample had."""
        self._report_missing("train")
        self._from_first_batch = False

    def on_validation_epoch_end(self) -> None:
        """Log how many labels were missing."""
        self._report_missing("val")

    def on_test_epoch_end(self) -> None:
        """Log how many labels were missing."""
        self._report_missing("test")

    # ---------------------------------------------------------------- inside

    def _evaluate(self, batch: Mapping[str, Any], stage: str) -> dict[str, Any]:
        outputs = {key: value.detach() for key, value in self.normalized_outputs(batch).items()}
        natoms = atom_counts(graph_of(batch))
        targets = self._targets(batch, outputs)
        terms = self.loss_terms(outputs, targets, batch)
        check_loss_scaling(self.task_loss_scaling, targets)
        predictions = self._denormalize(outputs, batch)
        if self._runs():
            self._log_losses(stage, terms, len(natoms))
            for key in targets:
                metrics = dict(cast("Any", self.metrics)[stage][key].items())
                self.update_metrics(metrics, key, predictions[key], targets[key], natoms)
                logged = {f"{stage}_{name}": metric for name, metric in metrics.items()}
                self.log_dict(logged, on_step=False, on_epoch=True, batch_size=len(natoms))
        return {
            "predictions": predictions,
            "targets": targets,
            "natoms": natoms,
            "sample_id": batch.get("sample_id"),
        }

    def _log_losses(
        self, stage: str, terms: Mapping[str, LossTerms], structures: int, total: Tensor | None = None
    ) -> None:
        """Log the loss of the epoch, and while training each target's: sums, divided once at its end.

        The ``total`` of another weighting than the sum is not made of these; of it, steps are averaged.
        """
        options: dict[str, Any] = {"on_step": False, "on_epoch": True, "batch_size": structures}
        metrics: Any = self.loss_metrics
        if total is None:
            loss = metrics[f"{stage}_loss"]
            loss.update(list(terms.values()), [self._weight(key) for key in terms])
            self.log(f"{stage}_loss", loss, prog_bar=True, **options)
        else:
            self.log(f"{stage}_loss", total.detach(), prog_bar=True, sync_dist=True, **options)
        if stage == "train":
            for key, term in terms.items():
                metrics[f"train_{key}_loss"].update([term], [1.0])
            logged = {name: metrics[name] for name in (f"train_{key}_loss" for key in terms)}
            self.log_dict(logged, **options)

    def _report_missing(self, stage: str) -> None:
        if self.trainer.sanity_checking or not self.task_keys:
            return
        counts = self._missing[stage].take(self.task_keys, self.device)
        for key, (missing, rows) in counts.items():
            if not missing:
                continue
            self.log(f"{stage}_{key}_missing", float(missing))
            if missing < rows:
                continue
            message = (
                f"target {key!r} has no label in any of the {rows} rows of this {stage} epoch: take it out "
                "of task_keys, or label some samples"
            )
            if stage == "train" and self._saw_all_training_data:
                raise ValueError(message)
            logger.warning(message)

    @property
    def _saw_all_training_data(self) -> bool:
        """Whether this epoch began with its first batch, ended with its last one, and nothing limits it."""
        limit = self.trainer.limit_train_batches
        unlimited = isinstance(limit, float) and limit == 1.0
        return self._from_first_batch and unlimited and self.trainer.is_last_batch

    def _stage(self) -> str:
        return "train" if self.trainer.training else "test" if self.trainer.testing else "val"

    def _weight(self, key: str) -> Any:
        return self.task_loss_scaling.get(key, 1.0)

    def _runs(self) -> bool:
        """Whether a trainer runs, and not the user called a step: then there is nobody to log to."""
        return self._trainer is not None and self._trainer.state.status == TrainerStatus.RUNNING

    def _targets(self, batch: Mapping[str, Any], outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if self.task_keys is None:
            raise ValueError(
                f"{type(self).__name__} has no task_keys yet: name them, or train with a data module"
            )
        return {key: self.target_of(key, find_target(batch, key), outputs[key]) for key in self.task_keys}

    def _denormalize(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Any]) -> dict[str, Tensor]:
        graph = graph_of(batch)
        natoms = atom_counts(graph)
        return {
            key: self.normalizers.denorm(key, value, natoms, graph.atomic_numbers)
            for key, value in outputs.items()
        }


def _labelled_atoms(graph: Any, target: Tensor) -> Tensor:
    """Return the atomic numbers of the structures that have a label."""
    known = ~torch.isnan(target).reshape(-1)
    return graph.atomic_numbers[known.repeat_interleave(atom_counts(graph).cpu())]
