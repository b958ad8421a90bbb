"""File names for the `ModelCheckpoint` callbacks of a config, which must not clash with the run's own."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable
from pathlib import Path

from pytorch_lightning import Callback
from pytorch_lightning.callbacks import ModelCheckpoint

from matsciml.runs.run_directory import BEST, LAST

logger = logging.getLogger(__name__)

_FIELD = re.compile(r"\{([^{}:]*)([^{}]*)\}")


def prepare_names(callbacks: Iterable[Callback], folder: Path) -> None:
    """Change file names of checkpoint callbacks that clash with the run's files or create unintended folders.

    Parameters
    ----------
    callbacks
        Callbacks of the config. Every `ModelCheckpoint` among them is modified in place.
    folder
        Directory of the run's ``best.ckpt`` and ``last.ckpt``.

    Raises
    ------
    ValueError
        If a callback would overwrite ``best.ckpt`` or ``last.ckpt`` of the run.
    """
    for callback in callbacks:
        if not isinstance(callback, ModelCheckpoint):
            continue
        _flatten(callback)
        if callback.dirpath is not None and Path(callback.dirpath) != Path(os.path.realpath(folder)):
            continue
        name = f"{callback.filename}{callback.FILE_EXTENSION}"
        if name in (BEST, LAST):
            raise ValueError(
                f"ModelCheckpoint(filename={callback.filename!r}) would overwrite the run's own {name}; pass "
                "another filename or dirpath"
            )
        if callback.save_last and f"{callback.CHECKPOINT_NAME_LAST}{callback.FILE_EXTENSION}" == LAST:
            callback.CHECKPOINT_NAME_LAST = "last-saved"
            logger.info(
                "ModelCheckpoint(save_last=...) writes last-saved.ckpt, because last.ckpt contains the run's "
                "newest state"
            )


def _flatten(callback: ModelCheckpoint) -> None:
    """Replace slashes in metric names, which Lightning would turn into folders."""
    before = callback.filename
    fields = _FIELD.findall(before or "")
    if not before or not callback.auto_insert_metric_name or not any("/" in name for name, _ in fields):
        return
    equals = callback.CHECKPOINT_EQUALS_CHAR
    callback.filename = _FIELD.sub(
        lambda field: f"{field[1].replace('/', '_')}{equals}{{{field[1]}{field[2]}}}", before
    )
    callback.auto_insert_metric_name = False
    logger.info(
        "renamed the checkpoints of ModelCheckpoint(filename=%r) to %r, because slashes would create folders",
        before,
        callback.filename,
    )
