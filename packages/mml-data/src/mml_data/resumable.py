"""What a data module needs so that a fit goes on with the very next batch."""

import logging
import os
from typing import Any, cast

from pytorch_lightning import LightningDataModule, Trainer
from torch.utils.data import Dataset

from mml_data.loader import ResumableDataLoader
from mml_data.seeded import with_seeds

__all__ = ["ResumableDataModule"]

logger = logging.getLogger(__name__)


class ResumableDataModule(LightningDataModule):
    """A data module whose seed, and where the training loader has got to, are saved in checkpoints.

    Parameters
    ----------
    seed
        Seed of random splits, of the order of training samples and of random transforms; default: what
        Lightning's ``seed_everything`` was given, or 0.

    Raises
    ------
    ValueError
        Where it is negative.
    """

    def __init__(self, seed: int | None = None) -> None:
        super().__init__()
        self._seed_was_given = seed is not None
        self.seed = int(os.environ.get("PL_GLOBAL_SEED", 0)) if seed is None else seed
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, it is {self.seed}")
        self._loader: ResumableDataLoader | None = None
        self._loader_state: dict[str, int] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must hold so that the parts are the same again, and go on where they were.

        Lightning keeps the loader's state as well, but gives it back too late where the loader is made early:
        a scheduler that asks for ``trainer.estimated_stepping_batches`` makes it before loops are restored.
        """
        return {"seed": self.seed, "loader": self._loader.state_dict() if self._loader is not None else None}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the seed of a checkpoint, and where its epoch had got to.

        Raises
        ------
        ValueError
            Where another seed was asked for.
        """
        self._loader_state = state_dict["loader"]
        if (seed := state_dict["seed"]) == self.seed:
            return
        if self._seed_was_given:
            raise ValueError(
                f"the checkpoint was written with seed {seed} of the data, now it is {self.seed}: "
                f"the splits would not be the same; give seed={seed}, or none"
            )
        logger.info("the seed of the data is %d, from the checkpoint", seed)
        self.seed = seed
        self._forget()

    def _forget(self) -> None:
        """Drop what was made with another seed."""

    def _training_loader(self, dataset: Dataset[Any], **options: Any) -> ResumableDataLoader:
        """Make the training loader, which begins where a checkpoint says."""
        position = self._position if self.trainer is not None else None
        samples = with_seeds(dataset, self.seed)
        self._loader = ResumableDataLoader(samples, position=position, **options)
        if self._loader_state is not None:
            self._loader.load_state_dict(self._loader_state)
            self._loader_state = None
        return self._loader

    def _fixed(self, dataset: Dataset[Any]) -> Dataset[Any]:
        """Return what an evaluation reads: random transforms do the same to a sample every time."""
        return with_seeds(dataset, self.seed, fixed=True)

    def _position(self) -> tuple[int, int]:
        trainer = cast(Trainer, self.trainer)
        batches: Any = trainer.fit_loop.epoch_loop.batch_progress.current
        return trainer.current_epoch, batches.processed
