"""Accumulate gradients such that they equal those of one large batch.

Lightning divides the loss of each batch by ``accumulate_grad_batches`` and adds up the gradients. The mean of
the means of uneven batches differs from the overall mean. Each batch of a window (the batches of one
optimizer step) must therefore be divided by the number of labels in the whole window, which must be known
before the first batch is used. For this reason, batches are read one window ahead, on the host, while
gradients are accumulated.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, cast

import pytorch_lightning as pl
import torch
from mml_samples import Array, Batch
from pytorch_lightning.utilities import CombinedLoader
from torch import Tensor

from mml_tasks.protocols import ExtendedBatch

logger = logging.getLogger(__name__)

WINDOW_KEY: Final = "accumulation_window"
"""Key of a batch: the targets of every batch of its window, as NumPy arrays, which no hook converts."""


Fetched: TypeAlias = tuple[object, int, int]
"""A batch, its index and the index of its loader, as a ``CombinedLoader`` returns them."""


class Window(NamedTuple):
    """The batches of one optimizer step, as seen from one of them.

    Parameters
    ----------
    factor
        Lightning's divisor, ``accumulate_grad_batches``.
    batches
        Number of batches; it may be below ``factor`` at the end of an epoch.
    targets
        Targets of each batch by name; None if they are unknown.
    """

    factor: int = 1
    batches: int = 1
    targets: Sequence[Mapping[str, Tensor]] | None = None


def window_of(
    trainer: pl.Trainer,
    batch: Batch,
    batch_idx: int,
    keys: Sequence[str],
    convert: Callable[[str, Tensor], Tensor],
) -> Window | None:
    """Return the window of a training batch, or None if gradients are not accumulated.

    Parameters
    ----------
    trainer
        Trainer that runs the step.
    batch, batch_idx
        The batch and its index in the epoch.
    keys
        Targets of the task.
    convert
        Function of key and target that returns the target in the form in which the loss counts its labels.
    """
    factor = trainer.accumulate_grad_batches
    if factor == 1 or not trainer.training or trainer.strategy.handles_gradient_accumulation:
        return None
    arrays = cast("ExtendedBatch", batch).get(WINDOW_KEY)
    if arrays is None:
        if batch_idx == 0 and trainer.current_epoch == 0:
            _warn_of_unknown_window(factor)
        return Window(factor, _batches_of_window(trainer, batch_idx - batch_idx % factor))
    targets = [{key: convert(key, torch.from_numpy(each[key])) for key in keys} for each in arrays]
    return Window(factor, len(targets), targets)


def _batches_of_window(trainer: pl.Trainer, first: int) -> int:
    """Return the number of batches in the window that begins with batch ``first`` of the epoch."""
    total = trainer.num_training_batches
    return int(min(trainer.accumulate_grad_batches, max(total - first, 1)))


class WindowedLoader(CombinedLoader):
    """Training loader that adds the targets of all batches of a window to each of its batches.

    Parameters
    ----------
    loaders
        Training loaders in any form that a trainer accepts, or a ``CombinedLoader``.
    trainer
        Trainer that determines the number of accumulated batches in the current epoch.
    """

    def __init__(self, loaders: object, trainer: pl.Trainer) -> None:
        if isinstance(loaders, CombinedLoader):
            super().__init__(loaders.iterables, loaders._mode)
        else:
            super().__init__(loaders, "max_size_cycle")
        self._trainer = trainer
        self._ahead: deque[Fetched] = deque()
        self._next: int | None = None

    def __iter__(self) -> WindowedLoader:
        super().__iter__()
        self._ahead.clear()
        self._next = None
        return self

    def __next__(self) -> Fetched:
        if not self._ahead:
            self._read_window()
        assert self._next is not None
        self._next += 1
        return self._ahead.popleft()

    def reset(self) -> None:
        """Discard the batches that were read ahead, and shut down workers."""
        super().reset()
        self._ahead.clear()

    def _read_window(self) -> None:
        if self._next is None:  # nonzero if a run continues in the middle of an epoch
            self._next = self._trainer.fit_loop.epoch_loop.batch_progress.current.ready
        factor = self._trainer.accumulate_grad_batches
        if factor == 1:
            self._ahead.append(super().__next__())
            return
        first = self._next - self._next % factor
        read = []
        for _ in range(first + _batches_of_window(self._trainer, first) - self._next):
            try:
                read.append(super().__next__())
            except StopIteration:
                break
        if not read:
            raise StopIteration
        batches = _with_windows([batch for batch, _, _ in read])
        self._ahead.extend(
            (batch, index, loader) for batch, (_, index, loader) in zip(batches, read, strict=True)
        )


def read_windows_ahead(trainer: pl.Trainer) -> None:
    """Make a trainer read batches one window ahead, if it accumulates gradients in any epoch.

    Lightning has no hook between a loader and its batches. This function therefore replaces ``dataloader`` of
    the trainer's training source for the current fit. `stop_reading_ahead` undoes it.
    """
    source: Any = getattr(trainer.fit_loop, "_data_source", None)
    accumulates = trainer.accumulate_grad_batches > 1 or any(
        max(getattr(callback, "scheduling", {0: 1}).values()) > 1
        for callback in trainer.callbacks  # type: ignore[attr-defined]
        if isinstance(callback, pl.callbacks.GradientAccumulationScheduler)
    )
    if not accumulates or source is None or "dataloader" in vars(source):
        return
    request = source.dataloader
    source.dataloader = lambda: WindowedLoader(request(), trainer)


def stop_reading_ahead(trainer: pl.Trainer) -> None:
    """Undo `read_windows_ahead`."""
    source = getattr(trainer.fit_loop, "_data_source", None)
    if source is not None:
        vars(source).pop("dataloader", None)


def _with_windows(batches: Sequence[object]) -> Sequence[object]:
    """Return copies of the batches of a window, with the targets of all of them, for each data set."""
    mappings = [batch for batch in batches if isinstance(batch, Mapping)]
    if len(mappings) < len(batches):
        return list(batches)
    if any("targets" in batch for batch in mappings):
        window = [_as_numpy(batch.get("targets", {})) for batch in mappings]
        return [{**batch, WINDOW_KEY: window} for batch in mappings]
    names = {name for batch in mappings for name, part in batch.items() if isinstance(part, Mapping)}
    found = [dict(batch) for batch in mappings]
    for name in names:
        present = [batch for batch in found if isinstance(batch.get(name), Mapping)]
        for batch, part in zip(present, _with_windows([batch[name] for batch in present]), strict=True):
            batch[name] = part
    return found


def _as_numpy(targets: Mapping[str, Tensor]) -> dict[str, Array]:
    return {key: value.numpy() for key, value in targets.items() if isinstance(value, Tensor)}


def _warn_of_unknown_window(factor: int) -> None:
    """Log a warning that accumulated batches have equal weights regardless of their number of labels."""
    logger.warning(
        "with accumulate_grad_batches=%d, the batches of an optimizer step could not be read in advance. "
        "Each batch therefore has the same weight, regardless of its number of labels",
        factor,
    )
