"""What happens to a batch: outputs, targets, weighted losses, logged errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerStatus
from torch import Tensor, nn
from torchmetrics import Metric

from mml_tasks.batches import align_target, atom_counts, check_finite, find_target, graph_of
from mml_tasks.losses import check_loss_scaling
from mml_tasks.metrics import update_regression
from mml_tasks.normalizer import Normalizers


class TaskSteps(pl.LightningModule):
    """The steps of every task; `BaseTaskModule` builds what they work with.

    The loss is ``sum(task_loss_scaling[key] * loss[key](output, target))`` over ``task_keys``, in normalised
    units. Predictions and metrics are in physical units and unweighted.
    """

    extensive_keys: ClassVar[frozenset[str]] = frozenset()
    """Targets that grow with the number of atoms; their loss is taken per atom."""

    task_keys: list[str] | None
    task_loss_scaling: dict[str, float]
    normalizers: Normalizers
    losses: nn.ModuleDict
    metrics: nn.ModuleDict

    def normalized_outputs(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return every output of the batch in the units of the loss."""
        raise NotImplementedError

    def update_metrics(
        self, metrics: dict[str, Metric], key: str, prediction: Tensor, target: Tensor, natoms: Tensor
    ) -> None:
        """Add a batch in physical units to a target's metrics."""
        update_regression(metrics, key, prediction, target, natoms)

    def check_target(self, key: str, target: Tensor, batch: Mapping[str, Any]) -> None:
        """Refuse values of one target that cannot be learned from."""
        check_finite(key, target, batch)

    def target_of(self, key: str, target: Tensor, output: Tensor) -> Tensor:
        """Return the target as the metrics and the loss compare it, in physical units."""
        return align_target(key, target, output)

    def loss_of(self, key: str, output: Tensor, target: Tensor) -> Tensor:
        """Return the loss of one target, a scalar, in the units of the loss and unweighted."""
        return self.losses[key](output, target)

    def check_batch(self, batch: Mapping[str, Any]) -> None:
        """Refuse targets that cannot be learned from; called while the batch is on the host."""
        if not self.trainer.predicting:
            for key in self.task_keys or []:
                self.check_target(key, find_target(batch, key), batch)

    def _on_before_batch_transfer(self, batch: Any, dataloader_idx: int = 0) -> Any:
        # Here looking at values waits for no device. The public hook of this name would not do: where there
        # is a data module, Lightning warns that both could have one, and calls only one of them.
        self.check_batch(batch)
        return super()._on_before_batch_transfer(batch, dataloader_idx)

    # ---------------------------------------------------------------- steps

    def forward(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return every output of the batch, by name, in physical units."""
        outputs = self.normalized_outputs(batch)
        return self._denormalize(outputs, atom_counts(graph_of(batch)))

    def training_step(self, batch: Mapping[str, Any], batch_idx: int) -> Tensor:
        """Return the loss of a batch."""
        outputs = self.normalized_outputs(batch)
        natoms = atom_counts(graph_of(batch))
        targets = self._targets(batch, outputs)
        losses = self._losses(outputs, targets, natoms)
        total = self._total(losses)
        if self._runs():
            logged = {f"train_{key}_loss": loss.detach() for key, loss in losses.items()}
            options: dict[str, Any] = {"on_step": False, "on_epoch": True, "batch_size": natoms.shape[0]}
            self.log("train_loss", total.detach(), prog_bar=True, **options)
            self.log_dict(logged, **options)
        return total

    def validation_step(self, batch: Mapping[str, Any], batch_idx: int) -> dict[str, Any]:
        """Log loss and errors; return predictions and targets in physical units, and the samples' names."""
        return self._evaluate(batch, "val")

    def test_step(self, batch: Mapping[str, Any], batch_idx: int) -> dict[str, Any]:
        """Log loss and errors; return predictions and targets in physical units, and the samples' names."""
        return self._evaluate(batch, "test")

    def predict_step(self, batch: Mapping[str, Any], batch_idx: int) -> dict[str, Any]:
        """Return predictions in physical units, and the samples' names."""
        natoms = atom_counts(graph_of(batch))
        predictions = {key: value.detach() for key, value in self(batch).items()}
        return {"predictions": predictions, "natoms": natoms, "sample_id": batch.get("sample_id")}

    def _evaluate(self, batch: Mapping[str, Any], stage: str) -> dict[str, Any]:
        outputs = {key: value.detach() for key, value in self.normalized_outputs(batch).items()}
        natoms = atom_counts(graph_of(batch))
        targets = self._targets(batch, outputs)
        total = self._total(self._losses(outputs, targets, natoms))
        predictions = self._denormalize(outputs, natoms)
        options: dict[str, Any] = {"on_step": False, "on_epoch": True, "batch_size": natoms.shape[0]}
        if self._runs():
            self.log(f"{stage}_loss", total, prog_bar=True, sync_dist=True, **options)
            for key in targets:
                metrics = dict(cast("Any", self.metrics)[stage][key].items())
                self.update_metrics(metrics, key, predictions[key], targets[key], natoms)
                self.log_dict({f"{stage}_{name}": metric for name, metric in metrics.items()}, **options)
        return {
            "predictions": predictions,
            "targets": targets,
            "natoms": natoms,
            "sample_id": batch.get("sample_id"),
        }

    def _runs(self) -> bool:
        """Whether a trainer runs, and not the user called a step: then there is nobody to log to."""
        return self._trainer is not None and self._trainer.state.status == TrainerStatus.RUNNING

    def _targets(self, batch: Mapping[str, Any], outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if self.task_keys is None:
            raise ValueError(
                f"{type(self).__name__} has no task_keys yet: name them, or train with a data module"
            )
        return {key: self.target_of(key, find_target(batch, key), outputs[key]) for key in self.task_keys}

    def _losses(
        self, outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor], natoms: Tensor
    ) -> dict[str, Tensor]:
        losses = {}
        for key, target in targets.items():
            output = outputs[key]
            target = self.normalizers.norm(key, target, natoms if key in self.extensive_keys else None)
            if key in self.extensive_keys:
                atoms = natoms.view(-1, 1)
                output, target = output / atoms, target / atoms
            loss = self.loss_of(key, output, target)
            if loss.dim() != 0:
                raise ValueError(
                    f"the loss of target {key!r} has shape {list(loss.shape)}: it must be one number"
                )
            losses[key] = loss
        return losses

    def _total(self, losses: Mapping[str, Tensor]) -> Tensor:
        check_loss_scaling(self.task_loss_scaling, losses)
        return torch.stack(
            [self.task_loss_scaling.get(key, 1.0) * loss for key, loss in losses.items()]
        ).sum()

    def _denormalize(self, outputs: Mapping[str, Tensor], natoms: Tensor) -> dict[str, Tensor]:
        return {
            key: self.normalizers.denorm(key, value, natoms if key in self.extensive_keys else None)
            for key, value in outputs.items()
        }
