"""Write steps with a bad gradient to files during a run, for :func:`mml_diagnostics.replay`."""

import logging
from collections.abc import Sequence
from pathlib import Path

from mml_diagnostics._lightning import LightningModule, Trainer
from mml_diagnostics.non_finite.replay import StepBatch, write_step

logger = logging.getLogger(__name__)

MAX_DUMPS = 10  # per run and rank, so that a broken data set does not fill the disk

# These strategies gather the weights from all ranks. A single rank that requests them would wait forever.
SHARDED = ("DeepSpeedStrategy", "FSDPStrategy", "ModelParallelStrategy")


class StepDump:
    """Write the first ten bad steps of a rank.

    If a step cannot be written, the error is logged, no further step is written, and the run continues.

    Parameters
    ----------
    directory
        Directory of the files. ``None`` writes nothing.

    Raises
    ------
    ValueError
        If ``directory`` is a file.
    """

    def __init__(self, directory: str | Path | None) -> None:
        if directory is not None and Path(directory).exists() and not Path(directory).is_dir():
            raise ValueError(f"dump_dir must be a directory, but {directory} is a file")
        self.directory = directory
        self._left = MAX_DUMPS

    @property
    def wanted(self) -> bool:
        """Whether a bad step would be written."""
        return self.directory is not None and self._left > 0

    def start(self, trainer: Trainer, speaks: bool) -> None:
        """Disable writing and log a warning, if the strategy shards the weights over ranks."""
        strategy = type(trainer.strategy)
        if self.directory is None or not any(cls.__name__ in SHARDED for cls in strategy.__mro__):
            return
        self._left = 0
        if speaks:
            logger.warning(
                "dump_dir is ignored, because %s shards the weights over the ranks.", strategy.__name__
            )

    def write(
        self, trainer: Trainer, module: LightningModule, batches: Sequence[StepBatch], step: int
    ) -> None:
        """Write the step of ``batches``, unless the trainer has ``fast_dev_run``.

        Call this method before the optimizer steps.
        """
        if self.directory is None or not self.wanted or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        self._left -= 1
        try:
            path = write_step(
                self.directory, module, batches, step, trainer.global_rank, str(trainer.precision)
            )
            last = "" if self._left else " No more steps will be written."
            logger.warning(
                "Step %d was written to %s. Repeat it with mml_diagnostics.replay.%s", step, path, last
            )
        except Exception:
            self._left = 0
            logger.exception(
                "Step %d could not be written to %s. No other step will be written.", step, self.directory
            )
