"""What all tasks are made of: their arguments, what is built from them, and what the data fills in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, cast

import torch
from torch import nn
from torchmetrics import Metric

from mml_tasks.batches import missing_target
from mml_tasks.encoder import make_encoder
from mml_tasks.heads import OutputHead
from mml_tasks.hyperparameters import plain
from mml_tasks.losses import complete_loss_scaling, make_losses, without_modules
from mml_tasks.metrics import MeanLoss, regression_metrics
from mml_tasks.normalization import NormalizeOptions
from mml_tasks.optimization import make_scheduler
from mml_tasks.task_normalization import TaskNormalization


class BaseTaskModule(TaskNormalization):
    """A LightningModule from an encoder and targets: subclasses say which outputs they predict, and how.

    See `TaskSteps` for what is done with a batch, and `TaskNormalization` for the numbers of the normalisers.

    Parameters
    ----------
    encoder
        Module with an integer ``output_dim`` D that maps a batch to an object with ``system_embedding``
        [B, D] and ``point_embedding`` [N, D]. Give it, or ``encoder_class``.
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
        Numbers of the normalisers, ``{"<key>_mean": .., "<key>_std": ..}``, each a number or an array of the
        target's components; for extensive targets also ``"<key>_per_atom_mean"``, and ``"<key>_reference"``,
        the energy of an atom of each element. ``"auto"``, or ``"auto": True`` beside such numbers, takes the
        others from the data when training starts: from the data module's ``target_statistics()``, or from one
        pass over at most ``"max_samples"`` (100,000) structures of the training data. ``"override": True``
        lets these numbers count where a checkpoint has others. ``None`` leaves values as they are.
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
        normalize_kwargs: dict[str, Any] | Literal["auto"] | None = None,
        task_loss_scaling: dict[str, float] | None = None,
    ) -> None:
        super().__init__()
        NormalizeOptions.of(normalize_kwargs)
        self._save_hyperparameters(
            encoder_class=encoder_class,
            encoder_kwargs=encoder_kwargs,
            task_keys=None if task_keys is None else list(task_keys),
            output_kwargs=output_kwargs,
            loss_func=without_modules(loss_func),
            lr=lr,
            weight_decay=weight_decay,
            scheduler_kwargs=scheduler_kwargs,
            normalize_kwargs=normalize_kwargs,
            task_loss_scaling=task_loss_scaling,
        )
        self.encoder = make_encoder(encoder, encoder_class, encoder_kwargs)
        self.output_kwargs = dict(output_kwargs or {})
        self.lr = lr
        self.weight_decay = weight_decay
        self.scheduler_kwargs = scheduler_kwargs or {}
        self.normalize_kwargs = normalize_kwargs
        self.task_keys = None
        self.task_loss_scaling = dict(task_loss_scaling or {})
        self.output_heads = nn.ModuleDict()
        self.losses = nn.ModuleDict()
        self.metrics = nn.ModuleDict()
        self.loss_metrics = nn.ModuleDict()
        self.last_losses = {}
        self.loss_weighting = None
        self._loss_func = loss_func

    # ---------------------------------------------------------------- what a subclass says

    def head_width(self, key: str) -> int:
        """Return how many numbers a target's head gives."""
        return 1

    def head_keys(self, task_keys: Sequence[str]) -> list[str]:
        """Return the targets that have a head of their own."""
        return list(task_keys)

    def infer_task_keys(self, statistics: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """Return the targets of the data that this task can learn."""
        raise NotImplementedError

    def make_metrics(self, key: str) -> dict[str, Metric]:
        """Return new metrics of a target, by the name they are logged under."""
        return regression_metrics(key, key in self.extensive_keys)

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
        self.loss_metrics = nn.ModuleDict(
            {f"{stage}_loss": MeanLoss(len(keys)) for stage in ("train", "val", "test")}
            | {f"train_{key}_loss": MeanLoss(1) for key in keys}
        )
        width: int = cast("Any", self.encoder).output_dim
        for key in self.head_keys(keys):
            self.output_heads[key] = OutputHead(width, self.head_width(key), **self.output_kwargs)
        self.make_normalizers(keys)

    def _save_hyperparameters(self, **arguments: Any) -> None:
        """Keep the arguments that a checkpoint can hold; under LightningCLI its config, which has all."""
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
        super().setup(stage)
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
                    f"{type(self).__name__} finds nothing to learn among the targets {sorted(statistics)}: "
                    "name them in task_keys"
                )
            self.set_task_keys(keys)
        if statistics is not None:
            for key in self.task_keys or []:
                if key not in statistics:
                    raise missing_target(key, statistics, "the data set")
                if statistics[key].get("missing") and not statistics[key].get("count"):
                    raise ValueError(
                        f"target {key!r} is missing in every sample of the training data: take it out of "
                        "task_keys, or label some samples"
                    )
        if stage == "fit":
            self._fill_normalizers()

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
