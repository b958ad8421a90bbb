"""The one place that asks which Lightning is installed."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytorch_lightning import LightningModule, Trainer
    from pytorch_lightning.callbacks import Callback
else:
    try:
        from pytorch_lightning import LightningModule, Trainer
        from pytorch_lightning.callbacks import Callback
    except ModuleNotFoundError as error:
        if error.name != "pytorch_lightning":
            raise
        try:
            from lightning.pytorch import LightningModule, Trainer
            from lightning.pytorch.callbacks import Callback
        except ModuleNotFoundError as error:
            raise ImportError(
                "mml-diagnostics needs a Lightning and found none: pip install pytorch-lightning"
            ) from error

__all__ = ["Callback", "LightningModule", "Trainer"]
