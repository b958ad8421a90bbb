"""Support for averaged weights: a run reports the weights that its checkpoint contains."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mml_diagnostics import ExponentialMovingAverageCallback
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import StochasticWeightAveraging, WeightAveraging

AVERAGING = (WeightAveraging, StochasticWeightAveraging, ExponentialMovingAverageCallback)


def check_averaging(callbacks: Iterable[Callback]) -> None:
    """Check that Lightning's weight averaging starts with the first step.

    Until an average starts, Lightning validates and saves the weights from before training.

    Parameters
    ----------
    callbacks
        Callbacks of the config.

    Raises
    ------
    ValueError
        If a `WeightAveraging` callback does not update the average in the first step.
    """
    for callback in callbacks:
        if isinstance(callback, ExponentialMovingAverageCallback) or not isinstance(
            callback, WeightAveraging
        ):
            continue
        if not callback.should_update(step_idx=0):
            raise ValueError(
                f"{type(callback).__name__} starts averaging after the first step. Until then, Lightning "
                "validates and saves the weights from before training instead of the trained ones. Start "
                "with the first step, or use mml_diagnostics.ExponentialMovingAverageCallback, which accepts "
                "the same options"
            )


def without_averaging(callbacks: Sequence[Callback]) -> list[Callback]:
    """Return the callbacks that do not average weights.

    An evaluation uses the weights in the ``state_dict`` of a checkpoint, which are the averaged ones.
    Lightning's callbacks would replace them with the raw weights.

    Parameters
    ----------
    callbacks
        Callbacks of a trainer.
    """
    return [callback for callback in callbacks if not isinstance(callback, AVERAGING)]


def swapped_in(trainer: Trainer) -> bool:
    """Return whether `StochasticWeightAveraging` has copied its average to the module at the end of the fit.

    Parameters
    ----------
    trainer
        Trainer whose fit has ended.
    """
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, StochasticWeightAveraging) and callback.n_averaged is not None:
            ended = trainer.current_epoch - 1
            return bool(trainer.max_epochs == -1 or ended >= callback.swa_end)
    return False
