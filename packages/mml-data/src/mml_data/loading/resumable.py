"""Base class of data modules that resume a fit with exactly the next batch."""

import logging
import os
from typing import Any, cast

from mml_samples import Sample
from pytorch_lightning import LightningDataModule, Trainer
from torch.utils.data import Dataset

from mml_data.loading.loader import ResumableDataLoader
from mml_data.loading.seeded import with_seeds

__all__ = ["ResumableDataModule"]

logger = logging.getLogger(__name__)


class ResumableDataModule(LightningDataModule):
    """Data module that saves its seed and the position of its training loader in checkpoints.

    Parameters
    ----------
    seed
        Seed of random splits, of the order of training samples and of random transforms. Default: the seed
        given to Lightning's ``seed_everything``, or 0.

    Raises
    ------
    ValueError
        If the seed is negative.
    """

    def __init__(self, seed: int | None = None) -> None:
        super().__init__()
        self._seed_was_given = seed is not None
        self.seed = int(os.environ.get("PL_GLOBAL_SEED", 0)) if seed is None else seed
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed}")
        self._loader: ResumableDataLoader | None = None
        self._loader_state: dict[str, int] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return the seed and the state of the training loader, for a checkpoint.

        Lightning saves the state of the loader as well, but may restore it too late. For example, a scheduler
        that reads ``trainer.estimated_stepping_batches`` creates the loader before the loops are restored.
        """
        return {"seed": self.seed, "loader": self._loader.state_dict() if self._loader is not None else None}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the seed and the position in the epoch from a checkpoint.

        Raises
        ------
        ValueError
            If this data module was created with an explicit seed that differs from the seed in the
            checkpoint.
        """
        self._loader_state = state_dict["loader"]
        if (seed := state_dict["seed"]) == self.seed:
            return
        if self._seed_was_given:
            raise ValueError(
                f"the checkpoint was written with seed={seed} of the data module, got seed={self.seed}, "
                f"which gives other splits; pass seed={seed}, or no seed"
            )
        logger.info("using the seed %d of the data from the checkpoint", seed)
        self.seed = seed
        self._forget()

    def _forget(self) -> None:
        """Discard everything that depends on the previous seed. Subclasses override this method."""

    def _training_loader(self, dataset: Dataset[Sample], **options: Any) -> ResumableDataLoader:
        """Create the training loader, which starts at the position saved in the checkpoint, if any."""
        position = self._position if self.trainer is not None else None
        samples = with_seeds(dataset, self.seed)
        self._loader = ResumableDataLoader(samples, position=position, **options)
        if self._loader_state is not None:
            self._loader.load_state_dict(self._loader_state)
            self._loader_state = None
        return self._loader

    def _fixed(self, dataset: Dataset[Sample]) -> Dataset[Sample]:
        """Return a data set for evaluation, in which random transforms give the same result every time."""
        return with_seeds(dataset, self.seed, fixed=True)

    def _position(self) -> tuple[int, int]:
        trainer = cast(Trainer, self.trainer)
        batches: Any = trainer.fit_loop.epoch_loop.batch_progress.current
        return trainer.current_epoch, batches.processed
