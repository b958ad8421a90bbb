"""What all tasks share: arguments, the sum of weighted losses, logging, optimisers and checks of the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, cast

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torchmetrics import Metric

from mml_tasks.batches import align_target, atom_counts, check_finite, find_target, graph_of, missing_target
from mml_tasks.heads import OutputHead
from mml_tasks.hyperparameters import import_class, plain
from mml_tasks.losses import check_loss_scaling, complete_loss_scaling, make_losses
from mml_tasks.metrics import regression_metrics, update_regression
from mml_tasks.normalization import Scale, scale_from_statistics, scales_from_kwargs
from mml_tasks.normalizer import Normalizer
from mml_tasks.optimization import make_scheduler
from mml_tasks.protocols import HasTargetStatistics


class BaseTaskModule(pl.LightningModule):
    """A LightningModule from an encoder and targets: subclasses say which outputs they predict, and how.

    The loss is ``sum(task_loss_scaling[key] * loss[key](output, target))`` over ``task_keys``, in normalised
    units. Predictions and metrics are in physical units and unweighted.

    Parameters
    ----------
    encoder
        Module with an integer ``output_dim`` D that maps a batch to an object with ``system_embedding`` [B, D]
        and ``point_embedding`` [N, D]. Give it, or ``encoder_class``.
    encoder_class, encoder_kwargs
        Class of the encoder, or its path, and its arguments. Unlike an instance, they are kept in the
        checkpoint, so that ``load_from_checkpoint`` needs no arguments.
    task_keys
        Targets to learn; ``None`` for the task's default, or for what the data module offers.
    output_kwargs
        Arguments of `OutputHead`: ``hidden_dim``, ``num_hidden``, ``activation``, ``last_layer_scale``.
    loss_func
        Loss module with a scalar result, its class or its class path, for all targets or by target.
    lr, weight_decay
        Learning rate and weight decay of AdamW.
    scheduler_kwargs
        Learning-rate schedulers by the name of their class in ``torch.optim.lr_scheduler``, each with its
        arguments; see `mml_tasks.optimization.make_scheduler`.
    normalize_kwargs
        Numbers of the normalisers, ``{"<key>_mean": .., "<key>_std": ..}``; ``"auto"`` takes them from the
        data module's ``target_statistics()`` when training starts; ``None`` leaves values as they are.
    task_loss_scaling
        Weight of each target in the loss; 1.0 where none is given. The attribute of the same name is live:
        changing it changes the next step.

    Raises
    ------
    TypeError
        If the encoder is no module with an ``output_dim``.
    ValueError
        If an argument names an unknown target or class, or a number is out of range.
    """

    extensive_keys: ClassVar[frozenset[str]] = frozenset()
    """Targets that grow with the number of atoms; their loss is taken per atom."""

    default_loss: ClassVar[type[nn.Module]] = nn.MSELoss

    def __init__(
        self,
        encoder: nn.Module | None = None,
        encoder_class: str | type[nn.Module] | None = None,
        encoder_kwargs: dict[str, Any] | None = None,
        task_keys: Sequence[str] | None = None,
        output_kwargs: dict[str, Any] | None = None,
        loss_func: nn.Module
        | str
        | type[nn.Module]
        | dict[str, nn.Module | str | type[nn.Module]]
        | None = None,
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        scheduler_kwargs: dict[str, dict[str, Any]] | None = None,
        normalize_kwargs: dict[str, float] | Literal["auto"] | None = None,
        task_loss_scaling: dict[str, float] | None = None,
    ) -> None:
        super().__init__()
        if isinstance(normalize_kwargs, str) and normalize_kwargs != "auto":
            raise ValueError(f'normalize_kwargs must be a dict, "auto" or None, got {normalize_kwargs!r}')
        self._save_hyperparameters(
            encoder_class=encoder_class,
            encoder_kwargs=encoder_kwargs,
            task_keys=None if task_keys is None else list(task_keys),
            output_kwargs=output_kwargs,
            loss_func=_without_modules(loss_func),
            lr=lr,
            weight_decay=weight_decay,
            scheduler_kwargs=scheduler_kwargs,
            normalize_kwargs=normalize_kwargs,
            task_loss_scaling=task_loss_scaling,
        )
        self.encoder = _make_encoder(encoder, encoder_class, encoder_kwargs)
        self.output_kwargs = dict(output_kwargs or {})
        self.lr = lr
        self.weight_decay = weight_decay
        self.scheduler_kwargs = scheduler_kwargs or {}
        self.normalize_kwargs = normalize_kwargs
        self.task_keys: list[str] | None = None
        self.task_loss_scaling: dict[str, float] = dict(task_loss_scaling or {})
        self.output_heads = nn.ModuleDict()
        self.normalizers = nn.ModuleDict()
        self.losses = nn.ModuleDict()
        self.metrics = nn.ModuleDict()
        self._loss_func = loss_func

    # ---------------------------------------------------------------- what a subclass says

    def head_width(self, key: str) -> int:
        """Return how many numbers a target's head gives."""
        return 1

    def head_keys(self, task_keys: Sequence[str]) -> list[str]:
        """Return the targets that have a head of their own."""
        return list(task_keys)

    def normalized_keys(self, task_keys: Sequence[str]) -> list[str]:
        """Return the outputs that have a normaliser."""
        return list(task_keys)

    def infer_task_keys(self, statistics: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """Return the targets of the data that this task can learn."""
        raise NotImplementedError

    def normalized_outputs(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return every output of the batch in the units of the loss."""
        raise NotImplementedError

    def make_metrics(self, key: str) -> dict[str, Metric]:
        """Return new metrics of a target, by the name they are logged under."""
        return regression_metrics(key, key in self.extensive_keys)

    def update_metrics(
        self, metrics: dict[str, Metric], key: str, prediction: Tensor, target: Tensor, natoms: Tensor
    ) -> None:
        """Add a batch in physical units to a target's metrics."""
        update_regression(metrics, key, prediction, target, natoms)

    def check_target(self, key: str, target: Tensor, batch: Mapping[str, Any]) -> None:
        """Refuse values that cannot be learned from; called before the batch goes to the device."""
        check_finite(key, target, batch)

    def target_of(self, key: str, target: Tensor, output: Tensor) -> Tensor:
        """Return the target as the metrics and the loss compare it, in physical units."""
        return align_target(key, target, output)

    # ---------------------------------------------------------------- building

    def set_task_keys(self, keys: Sequence[str]) -> None:
        """Build what depends on the targets: heads, normalisers, losses, weights and metrics.

        Raises
        ------
        ValueError
            If there are no keys, a key cannot name a module, or another argument names an unknown target.
        """
        keys = list(dict.fromkeys(keys))
        for key in keys:
            if "." in key or hasattr(nn.ModuleDict(), key):
                raise ValueError(f"a target cannot be called {key!r}: modules are named after targets")
        if not keys:
            raise ValueError(f"{type(self).__name__} needs at least one target in task_keys")
        self.task_keys = keys
        self.hparams["task_keys"] = list(keys)
        self.losses = make_losses(self._loss_func, keys, self.default_loss)
        self.task_loss_scaling = complete_loss_scaling(self.task_loss_scaling, keys)
        self.metrics = nn.ModuleDict(
            {
                stage: nn.ModuleDict({key: nn.ModuleDict(self.make_metrics(key)) for key in keys})
                for stage in ("val", "test")
            }
        )
        width = self.encoder.output_dim
        for key in self.head_keys(keys):
            self.output_heads[key] = OutputHead(width, self.head_width(key), **self.output_kwargs)
        names = self.normalized_keys(keys)
        self.normalizers = nn.ModuleDict({key: Normalizer() for key in names})
        if isinstance(self.normalize_kwargs, Mapping):
            self._set_scales(
                self.scales(scales_from_kwargs(self.normalize_kwargs, names, self.extensive_keys))
            )

    def scales(self, given: dict[str, Scale]) -> dict[str, Scale]:
        """Return the numbers of the normalisers from those that ``normalize_kwargs`` gives."""
        return given

    def auto_scales(self, statistics: Mapping[str, Mapping[str, Any]]) -> dict[str, Scale]:
        """Return the numbers of the normalisers from the statistics of the training split."""
        return {
            key: scale_from_statistics(key, statistics[key], key in self.extensive_keys)
            for key in self.normalizers
            if key in statistics
        }

    def _set_scales(self, scales: Mapping[str, Scale]) -> None:
        for key, scale in scales.items():
            try:
                self._normalizer(key).set_statistics(
                    0.0 if scale.mean is None else scale.mean,
                    1.0 if scale.std is None else scale.std,
                    scale.per_atom,
                )
            except ValueError as error:
                raise ValueError(f"target {key!r}: {error}") from None

    def _normalizer(self, key: str) -> Normalizer:
        module = self.normalizers[key]
        assert isinstance(module, Normalizer)
        return module

    def _save_hyperparameters(self, **arguments: Any) -> None:
        """Keep the arguments that a checkpoint can hold; under LightningCLI, which knows them all, its config."""
        try:
            self.save_hyperparameters("_instantiator")  # only LightningCLI gives this one
        except KeyError:
            self.save_hyperparameters({name: plain(value, name) for name, value in arguments.items()})
        else:
            self.save_hyperparameters()

    # ---------------------------------------------------------------- data

    def setup(self, stage: str) -> None:
        """Take from the data module what was left open, and check that it has the targets.

        Raises
        ------
        ValueError
            If the data has no statistics where they are needed, or lacks a target.
        """
        if stage == "predict" and self.task_keys is not None:
            return
        statistics = self._statistics()
        if self.task_keys is None:
            if statistics is None:
                raise ValueError(
                    f"{type(self).__name__} has no task_keys, and there is no data module with "
                    "target_statistics() to infer them from: name the targets in task_keys"
                )
            keys = self.infer_task_keys(statistics)
            if not keys:
                raise ValueError(
                    f"{type(self).__name__} finds nothing to learn among the targets {sorted(statistics)}: name "
                    "the targets in task_keys"
                )
            self.set_task_keys(keys)
        if statistics is not None:
            for key in self.task_keys or []:
                if key not in statistics:
                    raise missing_target(key, statistics, "the data set")
        if stage == "fit":
            self._fill_normalizers()

    def on_validation_start(self) -> None:
        """Make sure that the normalisers have numbers."""
        self._fill_normalizers()

    def on_test_start(self) -> None:
        """Make sure that the normalisers have numbers."""
        self._fill_normalizers()

    def on_predict_start(self) -> None:
        """Make sure that the normalisers have numbers."""
        self._fill_normalizers()

    def _fill_normalizers(self) -> None:
        unset = [key for key in self.normalizers if not self._normalizer(key).is_set]
        if self.normalize_kwargs != "auto" or not unset:
            return
        statistics = self._statistics()
        if statistics is None:
            raise ValueError(
                'normalize_kwargs="auto" needs a data module with target_statistics(), and the trainer has none: '
                f"give numbers in normalize_kwargs for {unset}, or load a checkpoint"
            )
        self._set_scales(self.auto_scales(statistics))

    def _statistics(self) -> Mapping[str, Mapping[str, Any]] | None:
        datamodule = getattr(self.trainer, "datamodule", None)
        return datamodule.target_statistics() if isinstance(datamodule, HasTargetStatistics) else None

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Check the targets while the batch is on the host, where looking at values waits for no device."""
        if not self.trainer.predicting:
            for key in self.task_keys or []:
                self.check_target(key, find_target(batch, key), batch)
        return batch

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
        if self._trainer is not None:
            logged = {f"train_{key}_loss": loss.detach() for key, loss in losses.items()}
            options: dict[str, Any] = {"on_step": False, "on_epoch": True, "batch_size": natoms.shape[0]}
            self.log("train_loss", total.detach(), prog_bar=True, **options)
            self.log_dict(logged, **options)
        return total

    def validation_step(self, batch: Mapping[str, Any], batch_idx: int) -> dict[str, Any]:
        """Log loss and errors; return predictions and targets in physical units, and which samples they are."""
        return self._evaluate(batch, "val")

    def test_step(self, batch: Mapping[str, Any], batch_idx: int) -> dict[str, Any]:
        """Log loss and errors; return predictions and targets in physical units, and which samples they are."""
        return self._evaluate(batch, "test")

    def predict_step(self, batch: Mapping[str, Any], batch_idx: int) -> dict[str, Any]:
        """Return predictions in physical units, and which samples they are."""
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
        if self._trainer is not None:
            self.log(f"{stage}_loss", total, prog_bar=True, sync_dist=True, **options)
        for key in targets:
            metrics = dict(cast("Any", self.metrics)[stage][key].items())
            self.update_metrics(metrics, key, predictions[key], targets[key], natoms)
            if self._trainer is not None:
                self.log_dict({f"{stage}_{name}": metric for name, metric in metrics.items()}, **options)
        return {
            "predictions": predictions,
            "targets": targets,
            "natoms": natoms,
            "sample_id": batch.get("sample_id"),
        }

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
            if key in self.normalizers:
                target = self._normalizer(key).norm(target, natoms if key in self.extensive_keys else None)
            if key in self.extensive_keys:
                atoms = natoms.view(-1, 1)
                output, target = output / atoms, target / atoms
            loss = self.losses[key](output, target)
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
            key: self._normalizer(key).denorm(value, natoms if key in self.extensive_keys else None)
            if key in self.normalizers
            else value
            for key, value in outputs.items()
        }

    # ---------------------------------------------------------------- optimisation

    def configure_optimizers(self) -> Any:
        """Return AdamW over the trainable parameters, and the schedulers of ``scheduler_kwargs``."""
        parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=self.lr, weight_decay=self.weight_decay)
        if not self.scheduler_kwargs:
            return optimizer
        schedulers = [
            make_scheduler(
                name, kwargs or {}, optimizer, self.lr, lambda: self.trainer.estimated_stepping_batches
            )
            for name, kwargs in self.scheduler_kwargs.items()
        ]
        return [optimizer], schedulers


def _make_encoder(
    encoder: nn.Module | None,
    encoder_class: str | type[nn.Module] | None,
    encoder_kwargs: dict[str, Any] | None,
) -> nn.Module:
    if (encoder is None) == (encoder_class is None):
        found = "both" if encoder is not None else "neither"
        raise ValueError(f"a task needs either encoder or encoder_class, got {found}")
    if encoder is None:
        assert encoder_class is not None
        if isinstance(encoder_class, str):
            encoder_class = import_class(encoder_class, "encoder_class", nn.Module)
        encoder = encoder_class(**(encoder_kwargs or {}))
    elif encoder_kwargs:
        raise ValueError("encoder_kwargs are the arguments of encoder_class: give that in place of encoder")
    if not isinstance(encoder, nn.Module):
        raise TypeError(f"the encoder must be a torch.nn.Module, got {type(encoder).__name__}")
    if not isinstance(getattr(encoder, "output_dim", None), int):
        raise TypeError(
            f"the encoder {type(encoder).__name__} has no integer 'output_dim', the width of its embeddings"
        )
    return encoder


def _without_modules(loss_func: Any) -> Any:
    """Drop loss instances, which a checkpoint's hyperparameters cannot hold."""
    if isinstance(loss_func, Mapping):
        return {key: loss for key, loss in loss_func.items() if not isinstance(loss, nn.Module)} or None
    return None if isinstance(loss_func, nn.Module) else loss_func
