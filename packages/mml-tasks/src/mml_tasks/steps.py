"""Training, validation, test and prediction steps of a task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
from mml_samples import Batch, atom_counts, graph_of
from torch import Tensor, nn
from torchmetrics import Metric

from mml_tasks.batches import align_target, check_not_infinite, find_target, samples_of
from mml_tasks.known_elements import KnownElements, UnknownElements
from mml_tasks.losses.loss_functions import check_loss_scaling
from mml_tasks.losses.loss_metrics import Weight, update_loss_metrics
from mml_tasks.losses.loss_modules import TargetLoss
from mml_tasks.losses.loss_terms import LossTerms, combine, loss_terms
from mml_tasks.losses.metrics import update_regression
from mml_tasks.normalization.normalizer import Normalizers
from mml_tasks.normalization.target_normalization import TargetNormalization
from mml_tasks.protocols import StepResult
from mml_tasks.trained_module import TrainedModule
from mml_tasks.trainer.accumulation import window_of
from mml_tasks.trainer.precision import matched_to, normalized_on_host, supports_float64, with_host_labels
from mml_tasks.trainer.stages import stage_of


class TaskSteps(TrainedModule):
    """Steps that all tasks share; `BaseTaskModule` builds the parts that they use.

    The loss of a training step is ``sum(task_loss_scaling[key] * loss[key](output, target))`` over
    ``task_keys``, in normalized units. The loss of each target is the mean over the labeled atoms or
    structures of the optimizer step: over all batches whose gradients are accumulated, on all ranks.
    Predictions and metrics are in physical units and unweighted.

    ``train_loss``, ``val_loss`` and ``test_loss`` are the same sum over an epoch, weighted with
    ``final_loss_scaling``. They can therefore be compared across epochs even if the weights change.

    Parameters
    ----------
    normalize_kwargs
        See `BaseTaskModule`.
    **kwargs
        See `TrainedModule`.

    Attributes
    ----------
    normalization
        Statistics of the targets and their sources. ``normalizers`` are its normalizers by target.
    losses, metrics
        Loss module of each target; metrics by stage, target and name.
    last_losses
        Unweighted loss of each target in the last training batch; used by callbacks such as `SoftAdapt`.
    last_terms
        Loss of each target in the last batch of a run, without gradient.
    known_elements
        Elements of the training data; saved in checkpoints.
    unknown_elements
        Action for structures to predict with another element: ``"refuse"`` raises an error, ``"warn"`` logs a
        warning. In a test, it is always a warning.
    loss_weighting
        Module that combines the scaled losses in training, or None for their sum; see `UncertaintyLoss`.
    """

    extensive_keys: ClassVar[frozenset[str]] = frozenset()
    """Targets that grow with the number of atoms; their loss is computed per atom."""

    progress_keys: ClassVar[tuple[str, ...]] = ()
    """Targets whose error is logged at training steps and shown in the progress bar."""

    def __init__(self, normalize_kwargs: object, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.task_keys: list[str] | None = None
        self.normalization = TargetNormalization(normalize_kwargs)
        self.normalizers: Normalizers = self.normalization.normalizers
        self.losses = nn.ModuleDict()
        self.metrics = nn.ModuleDict()
        self.loss_weighting: nn.Module | None = None
        self.last_losses: dict[str, Tensor] = {}
        self.last_terms: dict[str, LossTerms] = {}
        self.known_elements = KnownElements()
        self.unknown_elements: UnknownElements = "refuse"

    # ---------------------------------------------------------------- hooks for subclasses

    def normalized_outputs(self, batch: Batch) -> dict[str, Tensor]:
        """Return every output of the batch in the units of the loss."""
        raise NotImplementedError

    def training_outputs(self, batch: Batch) -> dict[str, Tensor]:
        """Return the outputs that the loss needs, in the units of the loss. Default: all outputs."""
        return self.normalized_outputs(batch)

    def target_of(self, key: str, target: Tensor, output: Tensor) -> Tensor:
        """Return a target in physical units, in the form that metrics and loss compare with the output."""
        return align_target(key, target, output)

    def window_target(self, key: str, target: Tensor) -> Tensor:
        """Return a target of a batch in the form in which the loss counts its labels."""
        return target

    def loss_arguments(self, key: str, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return output and target, in the units of the loss, in the shapes that the loss module expects."""
        return output, target

    def update_metrics(
        self, metrics: dict[str, Metric], key: str, prediction: Tensor, target: Tensor, natoms: Tensor
    ) -> None:
        """Update the metrics of a target with a batch in physical units."""
        update_regression(metrics, key, prediction, target, natoms)

    def check_target(self, key: str, target: Tensor, batch: Batch) -> None:
        """Raise an error for invalid values of a target. NaN is a missing label and valid."""
        check_not_infinite(key, target, batch)

    # ---------------------------------------------------------------- steps

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return every output of the batch by name, in physical units.

        Raises
        ------
        ValueError
            If the batch contains an element without a reference energy.
        """
        self.normalization.check_elements(batch)
        return self.normalization.denorm(self.normalized_outputs(batch), batch)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return this rank's loss of a batch; its mean over ranks and batches is the loss of the step."""
        runs = self.is_running()
        if runs:
            self.missing_labels.begin_batch(batch_idx)
            self.restore_epoch(batch_idx)
        outputs = self.training_outputs(batch)
        targets = self._targets(batch, outputs)
        goals = self._goals(targets, batch, outputs)
        terms = self.loss_terms(outputs, goals, targets, batch)
        window, counts = None, None
        if runs:
            window = window_of(self.trainer, batch, batch_idx, list(targets), self.window_target)
            counts = self.missing_labels.train.of_batch(list(targets))
        losses, counts = combine(terms, window, counts)
        if counts is not None:
            self.missing_labels.train.add_sums(counts)
        self.last_losses = {key: loss.detach() for key, loss in losses.items()}
        total = self.total_loss(losses, self.loss_weighting)
        if runs:
            structures = len(atom_counts(graph_of(batch)))
            self.log_losses("train", terms, structures, total if self.loss_weighting else None)
            self._log_progress(terms, outputs, goals, batch)
        return total

    def validation_step(self, batch: Batch, batch_idx: int) -> StepResult:
        """Log losses and metrics; return predictions and targets in physical units, and sample names."""
        return self._evaluate(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> StepResult:
        """Log losses and metrics; return predictions and targets in physical units, and sample names."""
        return self._evaluate(batch, "test")

    def predict_step(self, batch: Batch, batch_idx: int) -> StepResult:
        """Return predictions in physical units, and the names of the samples."""
        outputs = self.normalization.denorm(self.normalized_outputs(batch), batch)
        return {
            "predictions": {key: value.detach() for key, value in outputs.items()},
            "natoms": atom_counts(graph_of(batch)),
            "sample_id": batch.get("sample_id"),
        }

    def _evaluate(self, batch: Batch, stage: str) -> StepResult:
        outputs = {key: value.detach() for key, value in self.training_outputs(batch).items()}
        targets = self._targets(batch, outputs)
        goals = self._goals(targets, batch, outputs)
        terms = self.loss_terms(outputs, goals, targets, batch)
        check_loss_scaling(self.task_loss_scaling, targets)
        predictions = self.normalization.denorm(outputs, batch)
        natoms = atom_counts(graph_of(batch))
        if self.is_running():
            self.log_losses(stage, terms, len(natoms))
            for key in targets:
                metrics = self.metrics_of(stage, key)
                atoms = natoms.to(predictions[key].device)
                self.update_metrics(metrics, key, predictions[key], targets[key], atoms)
                self.log_metrics(stage, metrics, len(natoms))
        return {
            "predictions": predictions,
            "targets": targets,
            "natoms": natoms,
            "sample_id": batch.get("sample_id"),
        }

    def _targets(self, batch: Batch, outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the targets in physical units, in the shapes of the outputs."""
        if self.task_keys is None:
            raise ValueError(
                f"{type(self).__name__} has no targets yet. Pass task_keys, or train it with a data module"
            )
        return {key: self.target_of(key, find_target(batch, key), outputs[key]) for key in self.task_keys}

    def _goals(
        self, targets: Mapping[str, Tensor], batch: Batch, outputs: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the targets in the units of the loss, in the shapes and dtypes of the outputs."""
        on_host = normalized_on_host(batch, self._name())  # see `prepare_batch`
        if on_host is None:
            goals = self.normalization.norm(targets, batch)
        else:
            goals = {key: self.target_of(key, on_host[key], outputs[key]) for key in targets}
        return {k: v.to(outputs[k].dtype) if k in self.normalizers else v for k, v in goals.items()}

    def loss_terms(
        self,
        outputs: Mapping[str, Tensor],
        goals: Mapping[str, Tensor],
        targets: Mapping[str, Tensor],
        batch: Batch,
    ) -> dict[str, LossTerms]:
        """Return the sum of each target's unweighted loss over the labels of the batch, and their count.

        ``outputs`` and ``goals``, the targets, are in the units of the loss. ``targets`` are in physical
        units, NaN if a label is missing.

        Raises
        ------
        ValueError
            If a loss returns neither one number nor one number per element or row of its target.
        """
        natoms = atom_counts(graph_of(batch))
        found = {}
        for key, goal in goals.items():
            output, loss = outputs[key], self.losses[key]
            if key in self.extensive_keys and not (isinstance(loss, TargetLoss) and loss.takes_totals):
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
        scaled = {key: self.task_loss_scaling.get(key, 1.0) * loss for key, loss in losses.items()}
        return torch.stack(list(scaled.values())).sum() if weighting is None else weighting(scaled)

    # ---------------------------------------------------------------- batches on the host

    def _on_before_batch_transfer(self, batch: Any, dataloader_idx: int = 0) -> Any:
        # Values can be read here without waiting for the device. The public hook is not suitable: if there is
        # a data module, Lightning warns that both could define it, and calls only one of them.
        self.check_batch(batch)
        return super()._on_before_batch_transfer(self.prepare_batch(batch), dataloader_idx)

    def check_batch(self, batch: Batch) -> None:
        """Raise an error for invalid targets and unknown elements; called while the batch is on the host."""
        stage = stage_of(self.trainer)
        if stage in ("test", "predict"):
            self.normalization.check_elements(batch)
            self.check_known_elements(batch, "warn" if stage == "test" else self.unknown_elements)
        if stage == "predict":
            return
        for key in self.task_keys or []:
            target = find_target(batch, key)
            self.check_target(key, target, batch)
            if key in self.normalizers and self.normalizers.of(key).has_references:
                self.normalization.check_elements(batch, labels=target)
            if not self.trainer.sanity_checking:
                self.missing_labels.add(stage, key, target, atom_counts(graph_of(batch)))

    def check_known_elements(self, batch: Batch, action: UnknownElements) -> None:
        """Check the elements of a batch, see `KnownElements.check`."""
        self.known_elements.check(graph_of(batch).atomic_numbers, samples_of(batch), action)

    def prepare_batch(self, batch: Batch) -> Batch:
        """Return a batch on the host in the form in which it is moved to the device.

        If the task has float64 weights, the graph is converted to float64. If the device does not support
        float64, labels stay on the host and are normalized there.
        """
        batch = matched_to(self, batch)
        if supports_float64(self.device) or "targets" not in batch:
            return batch
        if self.trainer.predicting:
            return with_host_labels(batch, self._name(), None)
        targets = {key: find_target(batch, key) for key in self.task_keys or []}
        goals = self.normalization.norm(targets, batch)
        dtype = torch.get_default_dtype()
        goals = {key: value.to(dtype) if key in self.normalizers else value for key, value in goals.items()}
        return with_host_labels(batch, self._name(), goals)

    def _name(self) -> str:
        """Return the name under which a batch stores entries of this task."""
        return "" if self.scope is None else self.scope.name

    # ---------------------------------------------------------------- logging

    def log_losses(
        self, stage: str, terms: Mapping[str, LossTerms], structures: int, minimized: Tensor | None = None
    ) -> None:
        """Log the losses of the epoch as sums that are divided at the end, see `update_loss_metrics`."""
        self.last_terms = {key: LossTerms(term.total.detach(), term.weight) for key, term in terms.items()}
        now: dict[str, Weight] = {k: self.task_loss_scaling.get(k, 1.0) for k in self.task_keys or []}
        final = self.final_loss_scaling
        updated = update_loss_metrics(self.loss_metrics, stage, terms, final, now, minimized)
        for name, metric in updated.items():
            # Not in the progress bar in training: only rank zero would compute it, but it needs a reduction.
            in_bar = name == f"{stage}_loss" and stage != "train"
            self.log(name, metric, prog_bar=in_bar, on_step=False, on_epoch=True, batch_size=structures)

    def metrics_of(self, stage: str, key: str) -> dict[str, Metric]:
        """Return the metrics of a target in a stage, by name."""
        by_target = cast("Mapping[str, Mapping[str, Metric]]", self.metrics[stage])
        return dict(by_target[key].items())

    def log_metrics(self, stage: str, metrics: Mapping[str, Metric], structures: int) -> None:
        """Log metrics, which Lightning computes at the end of the epoch."""
        logged = {f"{stage}_{name}": metric for name, metric in metrics.items()}
        self.log_dict(logged, on_step=False, on_epoch=True, batch_size=structures)

    def _log_progress(
        self,
        terms: Mapping[str, LossTerms],
        outputs: Mapping[str, Tensor],
        goals: Mapping[str, Tensor],
        batch: Batch,
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
        self.log_dict(logged, batch_size=len(natoms), on_step=True, on_epoch=False, prog_bar=True)

    # ---------------------------------------------------------------- missing labels

    def on_train_epoch_end(self) -> None:
        """Log the number of missing labels, and raise an error if a target had no label in the epoch."""
        self.missing_labels.report(self, self.task_keys or [], "train")

    def on_validation_epoch_end(self) -> None:
        """Log the number of missing labels."""
        self.missing_labels.report(self, self.task_keys or [], "val")

    def on_test_epoch_end(self) -> None:
        """Log the number of missing labels."""
        self.missing_labels.report(self, self.task_keys or [], "test")
