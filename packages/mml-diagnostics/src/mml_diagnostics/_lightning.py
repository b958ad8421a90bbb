"""Import Lightning from ``pytorch_lightning``, or from ``lightning.pytorch`` if only that is installed.

All other modules of this package import Lightning's classes from here.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

LIGHTNINGS = {"pytorch_lightning": "pytorch_lightning", "lightning": "lightning.pytorch"}
"""Mapping from top-level package to the module that contains the Trainer, preferred package first."""
PACKAGE = __name__.partition(".")[0]


def installed() -> tuple[str, ...]:
    """Return the top-level packages of the installed Lightnings, preferred one first.

    Raises
    ------
    ImportError
        If no Lightning is installed.
    """
    # A folder that happens to be called `lightning` has a spec without an origin.
    found = tuple(root for root in LIGHTNINGS if (spec := find_spec(root)) is not None and spec.origin)
    if not found:
        raise ImportError(
            f"{PACKAGE.replace('_', '-')} requires Lightning, which is not installed. "
            "Run: uv pip install pytorch-lightning"
        )
    return found


if TYPE_CHECKING:
    from pytorch_lightning import LightningModule, Trainer
    from pytorch_lightning.callbacks import BasePredictionWriter, Callback, EMAWeightAveraging
else:
    _lightning = import_module(LIGHTNINGS[installed()[0]])
    LightningModule, Trainer, Callback = _lightning.LightningModule, _lightning.Trainer, _lightning.Callback
    BasePredictionWriter = _lightning.callbacks.BasePredictionWriter

    class _NoAveraging(Callback):
        """Placeholder for ``EMAWeightAveraging``, which Lightning has since version 2.6."""

        def __init__(self, *args: object, **kwargs: object) -> None:
            raise ImportError(
                "EMAWeightAveraging requires Lightning 2.6 or later. "
                "Run: uv pip install 'pytorch-lightning>=2.6'"
            )

    EMAWeightAveraging = getattr(_lightning.callbacks, "EMAWeightAveraging", _NoAveraging)

__all__ = ["BasePredictionWriter", "Callback", "EMAWeightAveraging", "LightningModule", "Trainer"]
