"""Import Lightning from ``pytorch_lightning``, or from ``lightning.pytorch`` if only that is installed.

All other modules of this package import Lightning's classes from here.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytorch_lightning import LightningModule, Trainer
    from pytorch_lightning.callbacks import BasePredictionWriter, Callback
else:
    try:
        from pytorch_lightning import LightningModule, Trainer, callbacks
        from pytorch_lightning.callbacks import BasePredictionWriter, Callback
    except ModuleNotFoundError as error:
        if error.name != "pytorch_lightning":
            raise
        try:
            from lightning.pytorch import LightningModule, Trainer, callbacks
            from lightning.pytorch.callbacks import BasePredictionWriter, Callback
        except ModuleNotFoundError as error:
            raise ImportError(
                "mml-diagnostics needs a Lightning and found none: pip install pytorch-lightning"
            ) from error


class _NoAveraging(Callback):
    """Placeholder for ``EMAWeightAveraging`` that raises ``ImportError`` if Lightning is older than 2.6."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise ImportError("EMAWeightAveraging needs Lightning 2.6: pip install 'pytorch-lightning>=2.6'")


if TYPE_CHECKING:
    from pytorch_lightning.callbacks import EMAWeightAveraging
else:
    EMAWeightAveraging = getattr(callbacks, "EMAWeightAveraging", _NoAveraging)

__all__ = ["BasePredictionWriter", "Callback", "EMAWeightAveraging", "LightningModule", "Trainer"]
