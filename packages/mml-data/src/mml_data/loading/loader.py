"""Data loader that can continue in the middle of an epoch."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import numpy as np
import torch
from mml_samples import Sample
from torch.utils.data import DataLoader, Dataset, SequentialSampler, default_collate

from mml_data.loading.budget import BudgetSampler
from mml_data.loading.packing import PackingCollate, unpacked
from mml_data.loading.sampler import EpochSampler

__all__ = ["ResumableDataLoader", "make_sampler"]

_SIZES = {"max_atoms": "natoms", "max_edges": "nedges"}
"""Name of a budget to the size that it limits."""


class ResumableDataLoader(DataLoader[Sample]):
    """`DataLoader` that counts the consumed batches of an epoch and can resume after them.

    Lightning saves the state of a training loader that has ``state_dict`` and ``load_state_dict``, and
    restores it when a fit is resumed. Batches that workers have prefetched do not count as consumed. Skipped
    batches are not read. A worker sends each batch as a single block of shared memory.

    Parameters
    ----------
    dataset
        Data set to load. It must have a length.
    batch_size
        Number of samples in a batch. The last batch of an epoch may be smaller. ``None`` if `budgets` are
        given.
    budgets
        Values of ``max_atoms`` and ``max_edges``, the maximum number of atoms and edges in a batch, see
        `BudgetSampler`. The data set must then have a method `sizes`, and must return a list of samples for a
        list of indices.
    sampler
        Sampler that defines the order. Default: the order of the data set. Its `set_epoch` starts another
        epoch.
    position
        Function that returns the current epoch of the training and the number of its finished batches.
        Without it, the epoch is the last one passed to `set_epoch` of the sampler, and each yielded batch
        counts as consumed. This includes a batch that is still in progress when a checkpoint is written
        because of an exception.
    kwargs
        Further options of `DataLoader`.

    Raises
    ------
    TypeError
        If `sampler` is of a type whose order cannot be reproduced.
    """

    def __init__(
        self,
        dataset: Dataset[Sample],
        batch_size: int | None = 1,
        *,
        budgets: Mapping[str, int] | None = None,
        sampler: EpochSampler | SequentialSampler | None = None,
        position: Callable[[], tuple[int, int]] | None = None,
        **kwargs: Any,
    ) -> None:
        if kwargs.get("batch_sampler") is not None:
            # Lightning passes a batch_sampler when it re-creates a loader for prediction. Prediction is never
            # resumed.
            sampler = None
        elif sampler is None or isinstance(sampler, SequentialSampler):
            # Lightning passes a SequentialSampler if overfit_batches is used.
            sampler = make_sampler(dataset, batch_size, budgets, shuffle=False)
        elif not isinstance(sampler, EpochSampler):
            raise TypeError(f"sampler must be an EpochSampler, got {type(sampler).__name__}")
        # Use a separate generator: drawing the seeds of workers must not change the random numbers of
        # training.
        kwargs.setdefault("generator", torch.Generator())
        collate = kwargs.pop("collate_fn", None) or default_collate
        if not isinstance(collate, PackingCollate):
            collate = PackingCollate(collate)
        super().__init__(dataset, batch_size=batch_size, sampler=sampler, collate_fn=collate, **kwargs)
        self.position = position
        self.budgets = budgets
        self._epoch = 0
        self._consumed = 0
        self._resume = False

    @property
    def epoch_sampler(self) -> EpochSampler:
        """Sampler of this loader, which stores the current epoch."""
        return cast(EpochSampler, self.sampler)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        if not isinstance(self.sampler, EpochSampler):
            yield from map(unpacked, super().__iter__())
            return
        # This is a generator, so nothing below runs before the first batch is requested: Lightning creates
        # the iterator before it knows the epoch. After some checkpoints Lightning passes a wrong epoch to
        # samplers, hence `position`.
        sampler = self.epoch_sampler
        if self.position is not None:
            sampler.set_epoch(self.position()[0])
        if not (self._resume and self._epoch == sampler.epoch):
            self._consumed = 0
        self._epoch, self._resume = sampler.epoch, False
        sampler.start = self._consumed * int(self.batch_size or 1)
        self.generator.manual_seed(_worker_seed(sampler.seed, sampler.epoch))
        for batch in super().__iter__():
            self._consumed += 1
            yield unpacked(batch)

    def state_dict(self) -> dict[str, int]:
        """Return the epoch, the number of consumed batches, and the settings that determine their order."""
        epoch, done = (self.epoch_sampler.epoch, self._consumed) if self.position is None else self.position()
        consumed = min(self._consumed, done) if self._epoch == epoch else 0
        return {"epoch": epoch, "consumed": consumed} | self._identity()

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Restore `state`; the next iteration of the same epoch continues after the consumed batches.

        Raises
        ------
        ValueError
            If `state` is from the middle of an epoch and this loader has other settings, so that the
            remaining batches of that epoch would differ.
        """
        different = [
            f"{key} was {state.get(key)} and is now {value}"
            for key, value in self._identity().items()
            if state.get(key) != value
        ]
        if different and 0 < state["consumed"] < len(self):
            raise ValueError(
                f"the checkpoint was written in the middle of epoch {state['epoch']}, which cannot be "
                f"continued, because {' and '.join(different)}; use the same settings, or a checkpoint "
                "from the end of an epoch"
            )
        self.epoch_sampler.set_epoch(state["epoch"])
        self._epoch, self._consumed, self._resume = state["epoch"], state["consumed"], True

    def _identity(self) -> dict[str, int]:
        return self.epoch_sampler.identity()


def make_sampler(
    dataset: Any, batch_size: int | None, budgets: Mapping[str, int] | None, **options: Any
) -> EpochSampler:
    """Create a sampler for `budgets`, or for `batch_size` if there are no budgets.

    Raises
    ------
    ValueError
        If the data set does not record the sizes that a budget needs.
    """
    if not budgets:
        return EpochSampler(dataset, int(batch_size or 1), **options)
    sizes = {name: dataset.sizes(_SIZES[name]) for name in budgets}
    return BudgetSampler(dataset, sizes, budgets, **options)


def _worker_seed(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
