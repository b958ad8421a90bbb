"""Base class of all tasks: arguments, the parts built from them, and values filled in from the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, cast

from mml_samples import Batch, Sample, optional_module
from torch import nn
from torchmetrics import Metric

from mml_tasks.batches import as_batch
from mml_tasks.encoder import make_encoder
from mml_tasks.heads import OutputHead
from mml_tasks.hyperparameters import save_arguments
from mml_tasks.known_elements import CHECKPOINT_KEY as ELEMENTS
from mml_tasks.losses.loss_functions import LossLike, complete_loss_scaling, make_losses, without_modules
from mml_tasks.losses.loss_metrics import make_loss_metrics
from mml_tasks.losses.metrics import regression_metrics
from mml_tasks.normalization.scale_rules import ScaleRules
from mml_tasks.normalization.target_normalization import CHECKPOINT_KEY as NORMALIZATION
from mml_tasks.normalization.training_data import TrainingData, check_kinds, check_labels, inferred_keys
from mml_tasks.optimization import make_optimizers
from mml_tasks.prediction import predict_batch
from mml_tasks.pretrained import EncoderReport, load_encoder, pretrained_arguments
from mml_tasks.protocols import Checkpoint, Encoder, Statistics
from mml_tasks.steps import TaskSteps
from mml_tasks.trainer.lr_scaling import LrScaling
from mml_tasks.trainer.precision import matched_to


class BaseTaskModule(TaskSteps):
    """Base class of all tasks: a LightningModule that learns targets with an encoder and output heads.

    Subclasses define the outputs that they predict and how they compute them. See `TaskSteps` for the steps
    that process a batch, `TargetNormalization` for the statistics of the targets, and `TrainedModule` for the
    trainer and checkpoints.

    Parameters
    ----------
    encoder
        Module with an integer attribute ``output_dim`` D. It maps a batch to an object with
        ``system_embedding`` [B, D] and ``point_embedding`` [N, D]. Give either ``encoder`` or
        ``encoder_class``.
    encoder_class, encoder_kwargs
        Class of the encoder, or its import path, and its arguments. Unlike an instance, they are saved in the
        checkpoint, so that ``load_from_checkpoint`` needs no arguments.
    task_keys
        Targets to learn. ``None`` uses the default of the task, or infers the targets from the data module.
    output_kwargs
        Arguments of `OutputHead`: ``hidden_dim``, ``num_hidden``, ``activation``, ``last_layer_scale``.
    loss_func
        Loss module with a scalar result, its class or its import path; either one for all targets or a dict
        of these by target.
    lr, weight_decay
        Learning rate and weight decay of AdamW.
    scheduler_kwargs
        Learning-rate schedulers: a dict from the name of a class in ``torch.optim.lr_scheduler`` to its
        arguments; see `mml_tasks.optimization.make_scheduler`.
    normalize_kwargs
        Statistics of the normalizers, ``{"<key>_mean": .., "<key>_std": ..}``. Each value is a number or an
        array in the shape of the target's components. Extensive targets also accept ``"<key>_per_atom_mean"``
        and ``"<key>_reference"``, the energy of an atom of each element. ``"auto"``, or ``"auto": True`` in
        addition to explicit values, computes the remaining statistics from the data when training starts:
        from ``target_statistics()`` of the data module, or from one pass over at most ``"max_samples"``
        (100,000) structures of the training data. With ``"override": True``, these statistics replace
        different ones in a checkpoint. ``None`` leaves the targets as they are.
    task_loss_scaling
        Weight of each target in the loss; 1.0 for targets without one. The attribute of the same name is
        live: a change takes effect at the next step.
    lr_scaling
        ``"sqrt"`` or ``"linear"``: multiply ``lr`` by the square root of the number of devices, or by the
        number of devices; see `scale_lr_by_world_size`. The scaled rate is logged with the effective batch
        size.
    embedding_reduction_type
        How a task reduces the atoms of a structure, ``"sum"`` or ``"mean"``. `StructureTask` reduces
        embeddings (the argument is its ``readout``); `ForceRegressionTask` reduces node energies and accepts
        only ``"sum"``. Tasks that predict vectors of atoms do not reduce them.
    freeze_encoder
        Whether to freeze the encoder. Its parameters are not trained, and it stays in evaluation mode.
    log_embeddings, log_embeddings_every_n_steps
        Arguments of the older toolkit, whose tasks logged histograms of embeddings. ``log_embeddings=True``
        raises an error: use the callback ``TrainingHelperCallback(update_freq=...)`` of mml-diagnostics,
        which logs these histograms for any encoder.

    Raises
    ------
    TypeError
        If the encoder is not a module with an integer ``output_dim``.
    ValueError
        If an argument names an unknown target or class, or a number is out of range.
    """

    default_loss: ClassVar[type[nn.Module]] = nn.MSELoss

    reductions: ClassVar[tuple[str, ...]] = ("sum", "mean")
    """Accepted values of ``embedding_reduction_type``."""

    kinds: ClassVar[frozenset[str]] = frozenset()
    """Kinds of the targets that the task learns. If it is empty, they are not checked."""

    transform_keys: ClassVar[frozenset[str]] = frozenset()
    """Targets that a transform creates, and which the statistics of the stored data therefore lack."""

    pretrained_report: EncoderReport | None = None
    """Report of the weights that `from_pretrained_encoder` loaded."""

    def __init__(
        self,
        encoder: nn.Module | None = None,
        encoder_class: str | type[nn.Module] | None = None,
        encoder_kwargs: dict[str, Any] | None = None,
        task_keys: Sequence[str] | None = None,
        output_kwargs: dict[str, Any] | None = None,
        loss_func: nn.Module | str | type[nn.Module] | dict[str, LossLike] | None = None,
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        scheduler_kwargs: dict[str, dict[str, Any]] | None = None,
        normalize_kwargs: dict[str, Any] | Literal["auto"] | None = None,
        task_loss_scaling: dict[str, float] | None = None,
        lr_scaling: LrScaling | None = None,
        embedding_reduction_type: Literal["sum", "mean"] | None = None,
        freeze_encoder: bool = False,
        log_embeddings: bool = False,
        log_embeddings_every_n_steps: int = 50,
    ) -> None:
        super().__init__(
            normalize_kwargs,
            scheduler_kwargs=scheduler_kwargs,
            lr_scaling=lr_scaling,
            log_embeddings=log_embeddings,
            log_embeddings_every_n_steps=log_embeddings_every_n_steps,
        )
        if embedding_reduction_type not in (None, *self.reductions):
            raise ValueError(
                f"embedding_reduction_type of {type(self).__name__} must be one of {list(self.reductions)}, "
                f"got {embedding_reduction_type!r}"
            )
        save_arguments(
            self,
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
            lr_scaling=lr_scaling,
            embedding_reduction_type=embedding_reduction_type,
            freeze_encoder=freeze_encoder,
        )
        self.encoder = make_encoder(encoder, encoder_class, encoder_kwargs)
        self.output_kwargs = dict(output_kwargs or {})
        self.lr = lr
        self.weight_decay = weight_decay
        self.freeze_encoder = freeze_encoder
        if freeze_encoder:
            self.encoder.requires_grad_(False)
        self.normalize_kwargs = normalize_kwargs
        self.task_loss_scaling = dict(task_loss_scaling or {})
        self.output_heads = nn.ModuleDict()
        self._loss_func = loss_func

    # ---------------------------------------------------------------- hooks for subclasses

    def head_width(self, key: str) -> int:
        """Return the number of outputs of a target's head."""
        return 1

    def make_head(self, key: str, width: int) -> nn.Module:
        """Return a new head for a target, which maps embeddings of ``width`` to its outputs."""
        return OutputHead(width, self.head_width(key), **self.output_kwargs)

    def head_keys(self, task_keys: Sequence[str]) -> list[str]:
        """Return the targets that have their own head."""
        return list(task_keys)

    def scale_rules(self, task_keys: Sequence[str]) -> ScaleRules:
        """Return the rules for the scales of the outputs. Default: each target has its own scale."""
        return ScaleRules(task_keys, self.extensive_keys)

    def infer_task_keys(self, statistics: Mapping[str, Statistics]) -> list[str]:
        """Return the targets of the data that this task can learn."""
        raise NotImplementedError

    def make_metrics(self, key: str) -> dict[str, Metric]:
        """Return new metrics of a target, keyed by the name under which they are logged."""
        return regression_metrics(key, key in self.extensive_keys)

    # ---------------------------------------------------------------- building

    def set_task_keys(self, keys: Sequence[str]) -> None:
        """Build the parts that depend on the targets: heads, normalizers, losses, weights and metrics.

        Raises
        ------
        ValueError
            If ``keys`` is empty, a key is not a valid module name, or another argument names an unknown
            target.
        """
        keys = list(dict.fromkeys(keys))
        for key in keys:
            if "." in key or hasattr(nn.ModuleDict(), key):
                raise ValueError(
                    f"target {key!r} has an invalid name, because modules are named after targets. Rename it"
                )
        if not keys:
            raise ValueError(f"{type(self).__name__} needs at least one target, got task_keys=[]")
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
        self.loss_metrics = make_loss_metrics(keys)
        width = cast("Encoder", self.encoder).output_dim
        for key in self.head_keys(keys):
            self.output_heads[key] = self.make_head(key, width)
        self.normalization.build(self.scale_rules(keys))

    # ---------------------------------------------------------------- data

    def build(self, stage: str) -> None:
        """Infer targets from the data module if none are given, and check that the data contain the targets.

        Raises
        ------
        ValueError
            If the data lack a target or its labels, or no targets are given and none can be inferred.
        """
        self.normalization.begin_run()
        if stage == "predict" and self.task_keys is not None:
            return
        statistics = self._data().statistics()
        if self.task_keys is None:
            self.set_task_keys(inferred_keys(type(self).__name__, self.infer_task_keys, statistics))
        if statistics is not None:
            stored = [key for key in self.task_keys or [] if key not in self.transform_keys]
            check_labels(stored, statistics)
            if self.kinds:
                check_kinds(type(self).__name__, self.kinds, stored, statistics)

    def fill_from_data(self) -> None:
        """Set the requested statistics of the normalizers from the data, and note the elements of a fit."""
        self.normalization.fill(self._data())
        if self.trainer.state.fn == "fit":
            self.known_elements.add(self._data().elements())

    def _data(self) -> TrainingData:
        return TrainingData(self.trainer, self.scope)

    # ---------------------------------------------------------------- optimization

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation mode. A frozen encoder stays in evaluation mode."""
        super().train(mode)
        if self.freeze_encoder:
            self.encoder.eval()
        return self

    def configure_optimizers(self) -> Any:
        """Return AdamW over the trainable parameters, and the schedulers of ``scheduler_kwargs``."""
        return make_optimizers(
            [parameter for parameter in self.parameters() if parameter.requires_grad],
            self.scheduler_kwargs,
            self.schedule_steps,
            lr=self.scaled(self.lr),
            weight_decay=self.weight_decay,
        )

    def learning_rate(self) -> float:
        """Return the learning rate before it is scaled."""
        return self.lr

    def on_train_start(self) -> None:
        """Compare normalizers and learning-rate schedules with the checkpoint, and log the scaled rate."""
        self.normalization.check_data(self._data())
        super().on_train_start()
        if self.freeze_encoder:
            self.encoder.eval()  # not in the constructor, since Lightning warns about modules in eval mode

    # ---------------------------------------------------------------- checkpoints

    def on_save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Save normalizer statistics, elements and running sums of an unfinished epoch, in plain types."""
        super().on_save_checkpoint(checkpoint)
        checkpoint[ELEMENTS] = self.known_elements.symbols()
        checkpoint[NORMALIZATION] = self.normalization.save()

    def on_load_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Load normalizer statistics (see `TargetNormalization.load`), elements and the running sums."""
        super().on_load_checkpoint(checkpoint)
        self.known_elements.add(checkpoint.get(ELEMENTS))
        self.normalization.load(checkpoint, resumes=self._resumes)

    def continue_as_new_run(self) -> None:
        """Treat a loaded checkpoint as the start of a new run, which may use other data."""
        super().continue_as_new_run()
        self.normalization.continue_as_new_run()

    # ---------------------------------------------------------------- prediction

    def predict(self, batch: Batch) -> dict[str, Any]:
        """Predict a batch, or a single sample with a graph, without a trainer.

        Returns
        -------
        dict
            Every output by name, in physical units; ``natoms``, the number of atoms of each structure, [B];
            and ``sample_id``, the names of the samples, or ``None`` if the batch has none. The outputs do not
            require gradients.

        Raises
        ------
        ValueError
            If the task does not have targets yet, its normalizers do not have statistics yet, or the batch
            contains an element that the training data did not contain and ``unknown_elements`` is
            ``"refuse"``.
        """
        if self.task_keys is None:
            raise ValueError(
                f"{type(self).__name__} has no targets yet. Pass task_keys, train it, or load a checkpoint"
            )
        self.normalization.check_filled()
        batch = matched_to(self, as_batch(batch))
        self.normalization.check_elements(batch)
        self.check_known_elements(batch, self.unknown_elements)
        result = predict_batch(self, batch)
        return result["predictions"] | {name: result[name] for name in ("natoms", "sample_id")}

    def as_ase_calculator(self, transforms: Sequence[Callable[[Sample], Sample]] = (), **kwargs: Any) -> Any:
        """Return an ASE calculator for this task, a `mml_tasks.ase_calculator.TaskCalculator`.

        Parameters
        ----------
        transforms
            List of the transforms that build a graph from a sample, as for the training data.
        **kwargs
            Keyword arguments of ``TaskCalculator`` and of ASE's ``Calculator``.

        Raises
        ------
        ImportError
            If ASE is not installed. The message contains the install command.
        TypeError
            If ``transforms`` is a single transform instead of a list.
        ValueError
            If the task predicts neither energy nor forces.
        """
        optional_module("ase", "mml-tasks[ase]", "an ASE calculator")
        from mml_tasks.ase_calculator import TaskCalculator

        return TaskCalculator(self, transforms, **kwargs)

    # ---------------------------------------------------------------- fine-tuning

    @classmethod
    def from_pretrained_encoder(
        cls, task_ckpt_path: str | Path, *, strict: bool = True, **kwargs: Any
    ) -> Self:
        """Create a new task whose encoder is initialized with the encoder weights of a checkpoint.

        The encoder is built from ``encoder_class`` and ``encoder_kwargs`` of the checkpoint, unless
        ``kwargs`` specify an encoder. Heads, normalizers and the optimizer are new. The attribute
        ``pretrained_report`` lists the weights that were loaded and those that were not; the same report is
        logged.

        Parameters
        ----------
        task_ckpt_path
            Checkpoint of any task. It is read with ``weights_only=True``. If the checkpoint was written while
            weights were averaged, the averaged weights are loaded.
        strict
            If True, the checkpoint must contain every weight of the encoder in the same shape and no other
            encoder weights. If False, weights that do not match keep their initial values.
        **kwargs
            Arguments of the new task. ``freeze_encoder=True`` keeps the loaded weights fixed.

        Raises
        ------
        FileNotFoundError
            If the checkpoint does not exist.
        ValueError
            If the checkpoint does not contain an encoder or its class, or if its weights do not match. The
            message lists all weights that do not match.
        """
        checkpoint, arguments = pretrained_arguments(task_ckpt_path, kwargs)
        task = cls(**arguments)
        task.pretrained_report = load_encoder(task.encoder, checkpoint, task_ckpt_path, strict=strict)
        return task
