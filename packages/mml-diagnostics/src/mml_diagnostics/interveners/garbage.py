"""GarbageCallback: run Python's garbage collection at the same steps on all ranks."""

import gc

from mml_diagnostics._lightning import Callback, LightningModule, Trainer


class GarbageCallback(Callback):
    """Collect garbage every ``frequency`` optimizer steps.

    Parameters
    ----------
    frequency
        Number of optimizer steps between two collections.

    Raises
    ------
    ValueError
        If ``frequency`` is below one.
    """

    def __init__(self, frequency: int) -> None:
        if frequency < 1:
            raise ValueError(f"frequency must be at least 1, got {frequency}")
        super().__init__()
        self.frequency = frequency
        self._step = -1

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Collect garbage if ``frequency`` optimizer steps have passed, at most once per step."""
        step = trainer.global_step
        if step != self._step and step > 0 and step % self.frequency == 0:
            gc.collect()
        self._step = step
