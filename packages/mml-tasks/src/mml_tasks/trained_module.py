"""Base class of the modules that a trainer trains: a single task, and several tasks together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
from pytorch_lightning.trainer.states import TrainerStatus
from torch import nn

from mml_tasks.encoder import check_log_embeddings
from mml_tasks.losses.epoch_sums import CHECKPOINT_KEY as EPOCH_SUMS
from mml_tasks.losses.epoch_sums import EpochSums
from mml_tasks.losses.missing_labels import MissingLabels
from mml_tasks.pretrained import load_weights
from mml_tasks.protocols import Checkpoint
from mml_tasks.task_scope import TaskScope
from mml_tasks.trainer.accumulation import read_windows_ahead, stop_reading_ahead
from mml_tasks.trainer.compiled import use_original_names
from mml_tasks.trainer.lightning_flavor import hint_at_other_lightning
from mml_tasks.trainer.lr_scaling import (
    LrScaling,
    check_lr_scaling,
    log_effective_batch,
    scale_lr_by_world_size,
)
from mml_tasks.trainer.precision import give_back_labels, keep_labels, prepare_precision
from mml_tasks.trainer.resume import SCHEDULE_KEY, ResumeSchedule, check_horizon, is_over, resume_optimization
from mml_tasks.trainer.weight_averaging import copy_again
from mml_tasks.weights.loss_weights import final_weights


class TrainedModule(pl.LightningModule):
    """LightningModule that prepares its trainer, starts from or continues checkpoints, and scales its rate.

    A task that is part of a `MultiTaskLitModule` leaves the trainer to that module.

    Subclasses implement `build` and `learning_rate`, and may implement `fill_from_data`.

    Parameters
    ----------
    scheduler_kwargs, lr_scaling, log_embeddings, log_embeddings_every_n_steps
        See `BaseTaskModule`.

    Attributes
    ----------
    task_loss_scaling
        Live loss weights. A change takes effect at the next step.
    final_loss_scaling
        Loss weights in ``train_loss``, ``val_loss`` and ``test_loss``: the final weights of schedules, and
        otherwise the weights in ``task_loss_scaling`` when a fit begins.
    loss_metrics
        Losses of the epoch by the name under which they are logged.
    missing_labels
        Numbers of missing labels of the epoch.

    Raises
    ------
    ValueError
        If ``lr_scaling`` is unknown, or ``log_embeddings`` is True.
    """

    scope: TaskScope | None = None
    """Position of the task in a `MultiTaskLitModule`; ``None`` for a module that the trainer trains."""

    resume_schedule: ResumeSchedule | None = None
    """How a resumed run handles differences from the checkpoint in the length of the learning-rate schedule
    or in the options of the optimizer, see `mml_tasks.trainer.resume.resume_optimization`. ``None`` raises an
    error.
    """

    steps_before_schedule: int = 0
    """Number of optimizer steps before the start of the learning-rate schedule; saved in checkpoints."""

    saved_schedulers: Sequence[Mapping[str, Any]] = ()
    """States of learning-rate schedulers in the checkpoint from which the run continues."""

    def __init__(
        self,
        scheduler_kwargs: dict[str, dict[str, Any]] | None,
        lr_scaling: LrScaling | None,
        log_embeddings: bool,
        log_embeddings_every_n_steps: int,
    ) -> None:
        super().__init__()
        hint_at_other_lightning(self)
        use_original_names(self)
        check_log_embeddings(log_embeddings, log_embeddings_every_n_steps)
        if lr_scaling is not None:
            check_lr_scaling(lr_scaling, "lr_scaling")
        self.scheduler_kwargs = scheduler_kwargs or {}
        self.lr_scaling = lr_scaling
        self.task_loss_scaling: dict[str, float] = {}
        self.final_loss_scaling: dict[str, float] = {}
        self.loss_metrics = nn.ModuleDict()
        self.missing_labels = MissingLabels()
        self._epoch_sums = EpochSums()
        self._resumes = False
        self._start: tuple[Path, Literal["keep", "refit"]] | None = None

    # ---------------------------------------------------------------- hooks for subclasses

    def build(self, stage: str) -> None:
        """Build the parts that depend on the data, and check that the data suit the module."""
        raise NotImplementedError

    def fill_from_data(self) -> None:
        """Set statistics of the data that are still unset, after weights have been loaded."""

    def learning_rate(self) -> float:
        """Return the learning rate that is logged with the effective batch size, before it is scaled."""
        raise NotImplementedError

    # ---------------------------------------------------------------- trainer

    def setup(self, stage: str) -> None:
        """Prepare the trainer, and build the module from its data.

        Raises
        ------
        ValueError
            If the data lack something that the module needs, or the weights of `start_from` do not fit.
        """
        self._resumes = False
        if self.scope is None:
            keep_labels(self.trainer)
            if stage == "fit":
                read_windows_ahead(self.trainer)
        self.build(stage)
        if self.scope is None:
            prepare_precision(self)
        if stage == "fit" or not self.final_loss_scaling:
            self.final_loss_scaling = final_weights(self)
        if stage == "fit":
            if self._start is not None:
                load_weights(self, self._start[0], with_normalizers=self._start[1] == "keep")
                self._start = None
            self.fill_from_data()
        copy_again(self.trainer, self, stage)

    def teardown(self, stage: str) -> None:
        """Undo the changes that `setup` made to the trainer."""
        if self.scope is None:
            give_back_labels(self.trainer)
            stop_reading_ahead(self.trainer)

    def on_train_start(self) -> None:
        """Check the learning-rate schedules, and log the scaled learning rate."""
        if self.scope is not None:
            return
        if self._resumes:
            resume_optimization(self, self.resume_schedule)
        else:
            check_horizon(self)
        if self.lr_scaling is not None:
            log_effective_batch(self, self.learning_rate(), self.lr_scaling)

    def on_validation_start(self) -> None:
        """Fill normalizers that have no statistics yet."""
        self.fill_from_data()

    def on_test_start(self) -> None:
        """Fill normalizers that have no statistics yet."""
        self.fill_from_data()

    def on_predict_start(self) -> None:
        """Fill normalizers that have no statistics yet."""
        self.fill_from_data()

    def is_running(self) -> bool:
        """Return whether a trainer is running, as opposed to a user calling a step without a trainer."""
        return self._trainer is not None and self._trainer.state.status == TrainerStatus.RUNNING

    def log(self, name: str, value: Any, *args: Any, **kwargs: Any) -> None:
        """Log a value as Lightning does.

        A task inside another module logs through that module under its own name.
        """
        if self.scope is None:
            super().log(name, value, *args, **kwargs)
        else:
            self.scope.log(name, value, **kwargs)

    # ---------------------------------------------------------------- learning rate

    def scaled(self, lr: float) -> float:
        """Return a learning rate, scaled with the number of devices according to ``lr_scaling``."""
        if self.lr_scaling is None:
            return lr
        return scale_lr_by_world_size(lr, self.trainer.world_size, self.lr_scaling)

    def schedule_steps(self) -> float:
        """Return the number of optimizer steps of the learning-rate schedule."""
        return self.trainer.estimated_stepping_batches - self.steps_before_schedule

    def lr_scheduler_step(self, scheduler: Any, metric: object) -> None:
        """Step a learning-rate scheduler, unless its schedule has ended and ``resume_schedule`` is "keep"."""
        if self.resume_schedule != "keep" or not is_over(scheduler):
            super().lr_scheduler_step(scheduler, metric)

    # ---------------------------------------------------------------- checkpoints

    def on_save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Save the running sums of an unfinished epoch, and the start of the learning-rate schedule."""
        if self._trainer is not None and self.trainer.state.fn == "fit":
            checkpoint[EPOCH_SUMS] = EpochSums.of(self.loss_metrics, self.missing_labels.train)
            checkpoint[SCHEDULE_KEY] = self.steps_before_schedule

    def on_load_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Keep what a resumed run restores when its training starts."""
        self._resumes = self._trainer is not None
        self._epoch_sums.keep(checkpoint.get(EPOCH_SUMS))
        self.steps_before_schedule = checkpoint.get(SCHEDULE_KEY, 0)
        self.saved_schedulers = checkpoint.get("lr_schedulers") or []

    def restore_epoch(self, batch_idx: int) -> None:
        """Restore the running sums of the epoch, if a resumed run continues within an epoch."""
        stored = self._epoch_sums.take()
        if stored is not None and batch_idx > 0:
            self._epoch_sums.restore(stored, self.loss_metrics, self.missing_labels.train)

    def continue_as_new_run(self) -> None:
        """Treat a loaded checkpoint as the start of a new run, which may use other data."""
        self._resumes = False
        self._epoch_sums.keep(None)
        self.steps_before_schedule = 0

    def start_from(self, checkpoint_path: str | Path, normalizer: Literal["keep", "refit"]) -> None:
        """Start the next fit from the weights of a checkpoint, with a new optimizer and a new schedule.

        Parameters
        ----------
        checkpoint_path
            Checkpoint of a module with the same encoder and targets. It is read with ``weights_only=True``.
        normalizer
            ``"keep"`` loads the statistics of the normalizers from the checkpoint, so that the outputs of the
            model do not change. ``"refit"`` computes the statistics from the new data, which shifts and
            scales the outputs.

        Raises
        ------
        FileNotFoundError
            If the checkpoint does not exist.
        ValueError
            If ``normalizer`` is neither ``"keep"`` nor ``"refit"``; or, when the fit begins, if the names or
            shapes of the weights differ.
        """
        if normalizer not in ("keep", "refit"):
            raise ValueError(f"normalizer must be 'keep' or 'refit', got {normalizer!r}")
        if not Path(checkpoint_path).is_file():
            raise FileNotFoundError(f"checkpoint {checkpoint_path} does not exist")
        self._start = (Path(checkpoint_path), normalizer)
