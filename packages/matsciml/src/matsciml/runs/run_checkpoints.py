"""Checkpoints of a run: `best.ckpt` has the lowest validation loss, and `last.ckpt` the newest state."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import torch
from lightning_utilities.core.rank_zero import rank_zero_only
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint
from pytorch_lightning.trainer.states import TrainerFn

logger = logging.getLogger(__name__)


def save_whole(trainer: Trainer, path: Path, weights_only: bool = False) -> None:
    """Save a checkpoint on all ranks, so that the path never contains an incomplete one.

    A process that is killed during the write leaves the previous checkpoint.

    Parameters
    ----------
    trainer
        Any trainer with a module.
    path
        Path of the file, or of the directory of a sharded strategy.
    weights_only
        Whether to omit optimizers and callbacks.
    """
    partial = path.with_suffix(".partial")
    trainer.save_checkpoint(partial, weights_only)
    if trainer.is_global_zero:
        if path.is_dir():
            shutil.rmtree(path)
        partial.replace(path)
    trainer.strategy.barrier("matsciml.save_whole")


class BestCheckpoint(ModelCheckpoint):
    """Callback that keeps the checkpoint with the lowest ``val_loss``.

    Without validation data, or if the module does not log ``val_loss``, the run has no best checkpoint and
    keeps only that of `LastCheckpoint`. A warning is logged once.

    Parameters
    ----------
    path
        Path of the checkpoint.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(
            path.parent,
            path.stem,
            monitor="val_loss",
            enable_version_counter=False,
            auto_insert_metric_name=False,
        )
        self.path = path
        self._warned = False

    @property
    def state_key(self) -> str:
        """State key of this callback, which differs from that of any `ModelCheckpoint` in a config."""
        return "matsciml.BestCheckpoint"

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best loss of this run. A run that starts from another run's checkpoint has none yet.

        The saved paths are replaced with the current path, so that the run's directory can be moved.
        """
        score, found = state_dict["best_model_score"], str(Path(str(self.dirpath)) / self.path.name)
        if score is None or not self.path.exists():
            return
        super().load_state_dict(
            state_dict
            | {
                "dirpath": self.dirpath,
                "best_model_path": found,
                "kth_best_model_path": found,
                "best_k_models": {found: score},
            }
        )

    def take_over(self, trainer: Trainer, score: float) -> None:
        """Save the current state of the module as the best checkpoint.

        Parameters
        ----------
        trainer
            Trainer of the module.
        score
            Validation loss of the module.
        """
        found = str(Path(str(self.dirpath)) / self.path.name)
        self.best_model_path = self.kth_best_model_path = found
        self.best_model_score = self.current_score = self.kth_value = torch.tensor(score)
        self.best_k_models = {found: self.best_model_score}
        self._save_checkpoint(trainer, found)

    def _save_topk_checkpoint(self, trainer: Trainer, monitor_candidates: dict[str, torch.Tensor]) -> None:
        if self.monitor in monitor_candidates:
            super()._save_topk_checkpoint(trainer, monitor_candidates)
        elif not self._warned:
            self._warned = True
            rank_zero_only(logger.warning)(
                "val_loss is not logged, so the run writes no best.ckpt; the final test uses the newest "
                "weights, which are saved in last.ckpt. Provide validation data and log val_loss to get a "
                "best.ckpt"
            )

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        save_whole(trainer, Path(filepath), self.save_weights_only)
        self._last_global_step_saved = trainer.global_step
        self._last_checkpoint_saved = filepath


class LastCheckpoint(Checkpoint):
    """Callback that saves the newest state, from which a run can continue as if it had not been stopped.

    The checkpoint is written at the end of every training epoch, at the end of every validation within an
    epoch, and when `save` is called. It is never written in the middle of an accumulation window, because the
    accumulated gradients would be lost. In that case it is written at the end of the window.

    Parameters
    ----------
    path
        Path of the checkpoint.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._due = False

    def save(self, trainer: Trainer) -> None:
        """Write the checkpoint, and flush the loggers."""
        save_whole(trainer, self.path)
        for each in trainer.loggers:
            each.save()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Save the checkpoint that was postponed to the end of this accumulation window."""
        if self._due and not within_window(trainer, batch_idx) and not trainer.is_last_batch:
            self._due = False
            self.save(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after a validation within an epoch. At the end of an epoch, `on_train_epoch_end` saves."""
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking or trainer.is_last_batch:
            return
        if within_window(trainer, trainer.fit_loop.batch_idx):
            self._due = True
        else:
            self.save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after every epoch, with or without validation."""
        self._due = False
        # Saving is a collective operation. The progress bar of rank zero has already computed the logged
        # metrics, which is one too. The other ranks compute them here, so that all ranks keep the same order.
        _ = trainer.callback_metrics
        self.save(trainer)


def within_window(trainer: Trainer, batch_idx: int) -> bool:
    """Return whether gradients are still being accumulated after this batch.

    Parameters
    ----------
    trainer
        Trainer during a fit.
    batch_idx
        Index of the batch that has just ended.
    """
    return (batch_idx + 1) % trainer.accumulate_grad_batches != 0 and not trainer.is_last_batch
