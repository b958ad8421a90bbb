"""ExponentialMovingAverageCallback: Lightning's ``EMAWeightAveraging`` under the name that users know."""

import logging
from typing import Any

from mml_diagnostics._lightning import EMAWeightAveraging, LightningModule, Trainer


class ExponentialMovingAverageCallback(EMAWeightAveraging):
    """Keep an exponential moving average of the weights; validate, test and save with it.

    All of it is Lightning's ``EMAWeightAveraging``: checkpoints hold the average as the weights and the raw
    weights beside it, from which a resumed run goes on.

    Parameters
    ----------
    decay
        Share of the average that a step leaves, from 0 to 1.
    verbose
        Level of this module's log lines, as the older toolkit had it.
    **kwargs
        To ``EMAWeightAveraging``, e.g. ``update_every_n_steps``, ``update_starting_at_step``.

    Raises
    ------
    ValueError
        For a ``decay`` outside 0 to 1.
    ImportError
        With a Lightning before 2.6, which has none.
    TypeError
        At the start of a fit, for a module of ``lightning.pytorch`` where ``pytorch_lightning`` is installed,
        too: Lightning's averaging knows only modules of its own kind.
    """

    def __init__(self, decay: float = 0.99, verbose: str = "WARN", **kwargs: Any) -> None:
        if not 0 <= decay <= 1:
            raise ValueError(f"decay is {decay}; give a share from 0 to 1.")
        if verbose not in logging.getLevelNamesMapping():
            raise ValueError(f'verbose is "{verbose}"; give the name of a log level, e.g. "INFO".')
        super().__init__(decay=decay, **kwargs)
        logger = logging.getLogger(__name__)
        logger.setLevel(verbose)
        logger.info("Averaging weights with decay %g.", decay)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse a module that Lightning's averaging would not know, then set up as it does."""
        if not isinstance(pl_module, LightningModule):
            raise TypeError(
                f"{type(pl_module).__name__} is not a module of {LightningModule.__module__.split('.')[0]}, "
                "which this average is made for. Use EMAWeightAveraging from lightning.pytorch.callbacks, or "
                "one Lightning throughout."
            )
        super().setup(trainer, pl_module, stage)
