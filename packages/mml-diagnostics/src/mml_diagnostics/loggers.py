"""Scalars to whatever loggers the trainer has."""

from collections.abc import Mapping

from mml_diagnostics._lightning import Trainer


def log_scalars(trainer: Trainer, scalars: Mapping[str, float], step: int) -> None:
    """Send ``scalars`` to all loggers of ``trainer``, which keep to rank zero; not to the progress bar."""
    for logger in trainer.loggers:
        logger.log_metrics(dict(scalars), step=step)
