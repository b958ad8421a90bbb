"""Training, validation, test and prediction steps of a task."""

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
from mml_tasks.losses.epoch_sums import EpochSums
from mml_tasks.losses.loss_functions import check_loss_scaling
from mml_tasks.losses.loss_modules import TargetLoss
from mml_tasks.losses.loss_terms import LossTerms, combine, join_combine, loss_terms
from mml_tasks.losses.metrics import MaskedMean, update_regression
from mml_tasks.losses.missing_labels import MissingLabels
from mml_tasks.normalization.normalizer import Normalizers
from mml_tasks.trainer.accumulation import Window, warn_of_unknown_window, window_of
from mml_tasks.trainer.precision import HostLabels, matched_to, supports_float64
from mml_tasks.trainer.ranks import world_size

logger = logging.getLogger(__name__)


class TaskSteps(pl.LightningModule):
    """Steps that all tasks share; `BaseTaskModule` builds the parts that they use.

    The loss of a training step is ``sum(task_loss_scaling[key] * loss[key](output, target))`` over
    ``task_keys``, in normalized units. The loss of each target is the mean over the labeled atoms or
    structures of the optimizer step: over all batches whose gradients are accumulated, on all ranks.
    Predictions and metrics are in physical units and unweighted.

    ``train_loss``, ``val_loss`` and ``test_loss`` are the same sum over an epoch, weighted with
    ``final_loss_scaling``. They can therefore be compared across epochs even if the weights change.
    """

    extensive_keys: ClassVar[frozenset[str]] = frozenset()
    """Targets that grow with the number of atoms; their loss is computed per atom."""

    progress_keys: ClassVar[tuple[str, ...]] = ()
    """Targets whose error is logged at training steps and shown in the progress bar."""

    task_keys: list[str] | None
    task_loss_scaling: dict[str, float]
    final_loss_scaling: dict[str, float]
    """Weights in ``train_loss``, ``val_loss`` and ``test_loss``: the final weights of schedules, and for
    other targets the weights in ``task_loss_scaling`` when a fit begins.
    """
    normalizers: Normalizers
    losses: nn.ModuleDict
    metrics: nn.ModuleDict
    loss_metrics: nn.ModuleDict
    last_losses: dict[str, Tensor]
    """Unweighted loss of each target in the last training batch; used by callbacks such as `SoftAdapt`."""
    last_terms: dict[str, LossTerms]
    """Loss of each target in the last batch of a run, without gradient."""
    loss_weighting: nn.Module | None
    """Module that combines the scaled losses in training, or None for their sum; see `UncertaintyLoss`."""

    def __init__(self) -> None:
        super().__init__()
        self._from_first_batch = False
        self._missing = {stage: MissingLabels() for stage in ("train", "val", "test")}
        self._epoch_sums = EpochSums()
        self.last_terms = {}

    def normalized_outputs(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return every output of the batch in the units of the loss."""
        raise NotImplementedError

    def update_metrics(
        self, metrics: dict[str, Metric], key: str, prediction: Tensor, target: Tensor, natoms: Tensor
    ) -> None:
        """Update the metrics of a target with a batch in physical units."""
        update_regression(metrics, key, prediction, target, natoms)

    def check_target(self, key: str, target: Tensor, batch: Mapping[str, Any]) -> None:
        """Raise an error for invalid values of a target. NaN is a missing label and valid."""
        check_not_infinite(key, target, batch)

    def target_of(self, key: str, target: Tensor, output: Tensor) -> Tensor:
        """Return a target in physical units, in the form that metrics and loss compare with the output."""
        return align_target(key, target, output)

    def loss_arguments(self, key: str, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return output and target, in the units of the loss, in the shapes that the loss module expects."""
        return output, target

    def training_outputs(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return the outputs that the loss needs, in the units of the loss. Default: all outputs."""
        return self.normalized_outputs(batch)

    def window_target(self, key: str, target: Tensor) -> Tensor:
        """Return a target of a batch in the form in which the loss counts its labels."""
        return target

    def check_batch(self, batch: Mapping[str, Any]) -> None:
        """Raise an error for invalid targets and unknown elements; called while the batch is on the host."""
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
        # Values can be read here without waiting for the device. The public hook is not suitable: if there is
        # a data module, Lightning warns that both could define it, and calls only one of them.
        self.check_batch(batch)
        return super()._on_before_batch_transfer(self.prepare_batch(batch), dataloader_idx)

    def prepare_batch(self, batch: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a batch on the host in the form in which it is moved to the device.

        If the task has float64 weights, the graph is converted to float64. If the device does not support
        float64, labels stay on the host and are normalized there.
        """
        batch = matched_to(self, batch)
        if supports_float64(self.device) or "targets" not in batch:
            return batch
        normalized = dict(batch.get("normalized_targets", {}))
        if not self.trainer.predicting:
            normalized[self._name()] = self._normalized_targets(batch)
        labels = batch["targets"]
        labels = labels if isinstance(labels, HostLabels) else HostLabels(labels)
        return {**batch, "targets": labels, "normalized_targets": normalized}

    def _name(self) -> str:
        """Return the name under which a batch stores entries of this task."""
        return ""

    # ---------------------------------------------------------------- steps

    def forward(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return every output of the batch by name, in physical units.

        Raises
        ------
        ValueError
            If the batch contains an element without a reference energy.
        """
        self.normalizers.check_elements(graph_of(batch).atomic_numbers, samples_of(batch))
        return self._denormalize(self.normalized_outputs(batch), batch)

    def training_step(self, batch: Mapping[str, Any], batch_idx: int) -> Tensor:
        """Return this rank's loss of a batch; its mean over ranks and batches is the loss of the step."""
        runs = self._runs()
        if runs:
            self._begin_step(batch_idx)
        outputs = self.training_outputs(batch)
        targets = self._targets(batch, outputs)
        goals = self._goals(outputs, targets, batch)
        terms = self.loss_terms(outputs, goals, targets, batch)
        keys = list(targets)
        window, counts = None, None
        if runs:
            window, counts = self._window(batch, batch_idx), self._missing["train"].of_batch(keys)
        losses, counts = combine(terms, window, counts)
        if counts is not None:
            self._missing["train"].add_sums(counts)
        self.last_losses = {key: loss.detach() for key, loss in losses.items()}
        total = self.total_loss(losses, self.loss_weighting)
        if runs:
            structures = len(atom_counts(graph_of(batch)))
            self._log_losses("train", terms, structures, total if self.loss_weighting else None)
            self._log_progress(terms, outputs, goals, batch)
        return total

    def join_step(self) -> None:
        """Take part in the reductions of a training step, on a rank without a batch for this task."""
        self.last_terms = {}
        if world_size() == 1 or not self._runs():
            return
        keys = self.task_keys or []
        for key in keys:
            loss = self.losses[key]
            if isinstance(loss, TargetLoss):
                loss.join(self.device)
        # Per target: the weight, the number of missing labels and the number of rows.
        self._missing["train"].add_sums(join_combine(3 * len(keys), self.device)[len(keys) :])
        self._log_nothing("train")

    def join_evaluation(self, stage: str) -> None:
        """Log the metrics of an evaluation step, on a rank without a batch for this task.

        Lightning reduces metrics in the order in which they are logged, which must be the same on all ranks.
        """
        if world_size() == 1 or not self._runs():
            return
        self._log_nothing(stage)
        nothing = torch.zeros(0, device=self.device)
        for key in self.task_keys or []:
            metrics = dict(cast("Any", self.metrics)[stage][key].items())
            for metric in metrics.values():
                if isinstance(metric, MaskedMean):
                    metric.update(nothing, nothing.bool())
            logged = {f"{stage}_{name}": metric for name, metric in metrics.items()}
            self.log_dict(logged, on_step=False, on_epoch=True, batch_size=1)

    def validation_step(self, batch: Mapping[str, Any], batch_idx: int) -> dict[str, Any]:
        """Log losses and metrics; return predictions and targets in physical units, and sample names."""
        return self._evaluate(batch, "val")

    def test_step(self, batch: Mapping[str, Any], batch_idx: int) -> dict[str, Any]:
        """Log losses and metrics; return predictions and targets in physical units, and sample names."""
        return self._evaluate(batch, "test")

    def predict_step(self, batch: Mapping[str, Any], batch_idx: int) -> dict[str, Any]:
        """Return predictions in physical units, and the names of the samples."""
        outputs = self._denormalize(self.normalized_outputs(batch), batch)
        return {
            "predictions": {key: value.detach() for key, value in outputs.items()},
            "natoms": atom_counts(graph_of(batch)),
            "sample_id": batch.get("sample_id"),
        }

    def loss_terms(
        self,
        outputs: Mapping[str, Tensor],
        goals: Mapping[str, Tensor],
        targets: Mapping[str, Tensor],
        batch: Mapping[str, Any],
    ) -> dict[str, LossTerms]:
        """Return the sum of each target's unweighted loss over the labels of the batch, and their count.

        Parameters
        ----------
        outputs, goals
            Outputs and targets by name, in the units of the loss.
        targets
            Targets in physical units, NaN if a label is missing.
        batch
            The batch of these outputs and targets.

        Raises
        ------
        ValueError
            If a loss returns neither one number nor one number per element or row of its target.
        """
        natoms = atom_counts(graph_of(batch))
        found = {}
        for key, goal in goals.items():
            output, loss = outputs[key], self.losses[key]
            extensive = key in self.extensive_keys
            if extensive and not (isinstance(loss, TargetLoss) and loss.takes_totals):
                atoms = natoms.view(-1, 1)
                output, goal = output / atoms, goal / atoms
            output, goal = self.loss_arguments(key, output, goal)
            try:
                found[key] = loss_terms(loss, output, goal, natoms, targets[key].to(output.device))
            except ValueError as error:
                raise ValueError(f"target {key!r}: {error}") from error
        return found

    def total_loss(self, losses: Mapping[str, Tensor], weighting: nn.Module | None = None) -> Tensor:
        """Return the sum of the scaled losses, or the result of ``weighting`` for the scaled losses."""
        check_loss_scaling(self.task_loss_scaling, losses)
        scaled = {key: self._weight(key) * loss for key, loss in losses.items()}
        return torch.stack(list(scaled.values())).sum() if weighting is None else weighting(scaled)

    def on_train_epoch_end(self) -> None:
        """Log the number of missing labels, and raise an error if a target had no label in the epoch."""
        self._report_missing("train")
        self._from_first_batch = False

    def on_validation_epoch_end(self) -> None:
        """Log the number of missing labels."""
        self._report_missing("val")

    def on_test_epoch_end(self) -> None:
        """Log the number of missing labels."""
        self._report_missing("test")

    # ---------------------------------------------------------------- internals

    def _begin_step(self, batch_idx: int) -> None:
        """Restore the running sums of the epoch, if a resumed run continues within an epoch."""
        self._from_first_batch |= batch_idx == 0  # False if a run continues within an epoch
        stored = self._epoch_sums.take()
        if stored is not None and batch_idx > 0:
            self._epoch_sums.restore(stored, self.loss_metrics, self._missing["train"])

    def _window(self, batch: Mapping[str, Any], batch_idx: int) -> Window | None:
        window = window_of(self.trainer, batch, batch_idx)
        if window.factor == 1:
            return None
        if window.targets is None:
            if batch_idx == 0 and self.trainer.current_epoch == 0:
                warn_of_unknown_window(self.trainer)
            return window
        keys = self.task_keys or []
        targets = [{key: self.window_target(key, each[key]) for key in keys} for each in window.targets]
        return window._replace(targets=targets)

    def _evaluate(self, batch: Mapping[str, Any], stage: str) -> dict[str, Any]:
        outputs = {key: value.detach() for key, value in self.training_outputs(batch).items()}
        natoms = atom_counts(graph_of(batch))
        targets = self._targets(batch, outputs)
        terms = self.loss_terms(outputs, self._goals(outputs, targets, batch), targets, batch)
        check_loss_scaling(self.task_loss_scaling, targets)
        predictions = self._denormalize(outputs, batch)
        if self._runs():
            self._log_losses(stage, terms, len(natoms))
            for key in targets:
                metrics = dict(cast("Any", self.metrics)[stage][key].items())
                atoms = natoms.to(predictions[key].device)
                self.update_metrics(metrics, key, predictions[key], targets[key], atoms)
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
        """Log the loss of the epoch and, in training, of each target, as sums that are divided at the end.

        If the current weights differ from the final ones, the loss with the current weights is logged as
        well. If training minimizes another ``total`` than the weighted sum, the mean of ``total`` over steps
        is logged instead.
        """
        self.last_terms = {key: LossTerms(term.total.detach(), term.weight) for key, term in terms.items()}
        options: dict[str, Any] = {"on_step": False, "on_epoch": True, "batch_size": structures}
        metrics: Any = self.loss_metrics
        found = list(terms.values())
        metrics[f"{stage}_loss"].update(found, [self.final_loss_scaling[key] for key in terms])
        # Not in the progress bar in training: only rank zero would compute it, but it needs a reduction.
        self.log(f"{stage}_loss", metrics[f"{stage}_loss"], prog_bar=stage != "train", **options)
        name = f"{stage}_weighted_loss"
        if total is not None:
            metrics[f"{stage}_minimized_loss"].update([LossTerms(total, torch.ones_like(total))], [1.0])
            self.log(name, metrics[f"{stage}_minimized_loss"], **options)
        elif any(
            isinstance(w, Tensor) or w != self.final_loss_scaling[k] for k, w in self._weights().items()
        ):
            metrics[name].update(found, [self._weight(key) for key in terms])
            self.log(name, metrics[name], **options)
        if stage == "train":
            for key, term in terms.items():
                metrics[f"train_{key}_loss"].update([term], [1.0])
            logged = {name: metrics[name] for name in (f"train_{key}_loss" for key in terms)}
            self.log_dict(logged, **options)

    def _log_nothing(self, stage: str) -> None:
        """Log the losses of a batch without labels."""
        nothing = torch.zeros((), device=self.device)
        self._log_losses(stage, {key: LossTerms(nothing, nothing) for key in self.task_keys or []}, 1)

    def _log_progress(
        self,
        terms: Mapping[str, LossTerms],
        outputs: Mapping[str, Tensor],
        goals: Mapping[str, Tensor],
        batch: Mapping[str, Any],
    ) -> None:
        """Log the weighted loss of this rank's batch, and its errors in physical units, as plain numbers."""
        means = {key: t.total.detach() / torch.clamp(t.weight, min=1e-30) for key, t in terms.items()}
        logged = {"train_loss_step": self.total_loss(means, self.loss_weighting).detach()}
        natoms = atom_counts(graph_of(batch)).view(-1, 1)
        for key in (key for key in self.progress_keys if key in goals):
            error = (outputs[key].detach() - goals[key]) * self.normalizers.of(key).std.to(outputs[key])
            if key in self.extensive_keys:
                key, error = f"{key}_per_atom", error / natoms
            logged[f"train_{key}_mae_step"] = error.abs().nanmean()
        options: dict[str, Any] = {"on_step": True, "on_epoch": False, "prog_bar": True}
        self.log_dict(logged, batch_size=len(natoms), **options)

    def _report_missing(self, stage: str) -> None:
        if self.trainer.sanity_checking or not self.task_keys:
            return
        labels = self._missing[stage]
        training = stage == "train"
        counts = labels.take_sums(self.task_keys) if training else labels.take(self.task_keys, self.device)
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
        """Whether this epoch covers all training batches, without ``limit_train_batches``."""
        limit = self.trainer.limit_train_batches
        unlimited = isinstance(limit, float) and limit == 1.0
        return self._from_first_batch and unlimited and self.trainer.is_last_batch

    def _stage(self) -> str:
        return "train" if self.trainer.training else "test" if self.trainer.testing else "val"

    def _weight(self, key: str) -> Any:
        return self.task_loss_scaling.get(key, 1.0)

    def _weights(self) -> dict[str, Any]:
        return {key: self._weight(key) for key in self.task_keys or []}

    def _runs(self) -> bool:
        """Return whether a trainer is running, as opposed to a user calling a step without a trainer."""
        return self._trainer is not None and self._trainer.state.status == TrainerStatus.RUNNING

    def _targets(self, batch: Mapping[str, Any], outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if self.task_keys is None:
            raise ValueError(
                f"{type(self).__name__} has no task_keys yet: name them, or train with a data module"
            )
        return {key: self.target_of(key, find_target(batch, key), outputs[key]) for key in self.task_keys}

    def _normalized_targets(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return the targets of a batch in the units of the loss, in the same shapes as in the batch."""
        graph = graph_of(batch)
        natoms, dtype = atom_counts(graph), torch.get_default_dtype()
        found = {}
        for key in self.task_keys or []:
            target = find_target(batch, key)
            if key in self.normalizers:
                target = self.normalizers.norm(key, target, natoms, graph.atomic_numbers).to(dtype)
            found[key] = target
        return found

    def _goals(
        self, outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor], batch: Mapping[str, Any]
    ) -> dict[str, Tensor]:
        """Return the targets in the units of the loss, in the shape and dtype of the outputs."""
        graph = graph_of(batch)
        natoms, stored = atom_counts(graph), batch.get("normalized_targets", {}).get(self._name())
        found = {}
        for key, target in targets.items():
            if stored is not None:
                found[key] = self.target_of(key, stored[key], outputs[key]).to(outputs[key].dtype)
            elif key in self.normalizers:
                found[key] = self.normalizers.norm(key, target, natoms, graph.atomic_numbers)
                found[key] = found[key].to(outputs[key].dtype)
            else:
                found[key] = target
        return found

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
