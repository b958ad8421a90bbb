"""The checkpoints of a run: `best.ckpt` has the lowest validation loss, `last.ckpt` is the newest state."""

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
    """Save a checkpoint on all ranks; the path always holds a complete one, even if the process is killed.

    Parameters
    ----------
    trainer
        Any trainer with a module.
    path
        File, or the directory of a sharded strategy.
    weights_only
        Leave out optimizers and callbacks.
    """
    partial = path.with_suffix(".partial")
    trainer.save_checkpoint(partial, weights_only)
    if trainer.is_global_zero:
        if path.is_dir():
            shutil.rmtree(path)
        partial.replace(path)
    trainer.strategy.barrier("matsciml.save_whole")


class BestCheckpoint(ModelCheckpoint):
    """Keeps the checkpoint with the lowest ``val_loss``.

    Without validation data, or if the module does not log ``val_loss``, there is no best checkpoint. This is
    logged once, and `LastCheckpoint` is what a run keeps.

    Parameters
    ----------
    path
        Where it is kept.
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
        """A key that no `ModelCheckpoint` of a config has."""
        return "matsciml.BestCheckpoint"

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the best loss of this run; a run that starts from another run's checkpoint has none yet.

        Paths of the checkpoint are replaced by today's, so that a run's directory can be moved.
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
        """Save the module as it is now as the best checkpoint.

        Parameters
        ----------
        trainer
            Which holds the module.
        score
            Its validation loss.
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
                "there is no val_loss (no validation data, or the module does not log it), so this run "
                "writes no best.ckpt: last.ckpt holds the newest weights, and the final test uses them"
            )

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        save_whole(trainer, Path(filepath), self.save_weights_only)
        self._last_global_step_saved = trainer.global_step
        self._last_checkpoint_saved = filepath


class LastCheckpoint(Checkpoint):
    """Saves the newest state, from which the run continues as if it had not been stopped.

    It is written at the end of every training epoch, at the end of every validation within an epoch, and when
    `save` is called. A state in the middle of an accumulation window is never written, because its gradients
    would be lost: the end of the window is waited for.

    Parameters
    ----------
    path
        Where it is kept.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._due = False

    def save(self, trainer: Trainer) -> None:
        """Write the checkpoint, and all that was logged so far."""
        save_whole(trainer, self.path)
        for each in trainer.loggers:
            each.save()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save what was put off to the end of this accumulation window."""
        if self._due and not within_window(trainer, batch_idx) and not trainer.is_last_batch:
            self._due = False
            self.save(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after a validation within an epoch; one at its end is followed by `on_train_epoch_end`."""
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking or trainer.is_last_batch:
            return
        if within_window(trainer, trainer.fit_loop.batch_idx):
            self._due = True
        else:
            self.save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after every epoch, validated or not."""
        self._due = False
        self.save(trainer)


def within_window(trainer: Trainer, batch_idx: int) -> bool:
    """Return whether gradients are still being accumulated after this batch.

    Parameters
    ----------
    trainer
        Which is fitting.
    batch_idx
        Index of the batch that has just ended.
    """
    return (batch_idx + 1) % trainer.accumulate_grad_batches != 0 and not trainer.is_last_batch
