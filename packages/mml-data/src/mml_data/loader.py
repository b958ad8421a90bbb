"""A data loader that continues in the middle of an epoch."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, SequentialSampler, default_collate

from mml_data.budget import BudgetSampler
from mml_data.packing import PackingCollate, unpacked
from mml_data.sampler import EpochSampler

__all__ = ["ResumableDataLoader", "make_sampler"]

_SIZES = {"max_atoms": "natoms", "max_edges": "nedges"}
"""Budget to the size that it limits."""


class ResumableDataLoader(DataLoader[Any]):
    """A `DataLoader` that knows how many batches of the epoch were consumed, and can start after them.

    Lightning saves the state of a training loader that has ``state_dict`` and ``load_state_dict``, and
    gives it back when it resumes a fit. What workers have read ahead does not count. Skipped batches are
    not read. A batch that a worker has made comes in one piece of shared memory.

    Parameters
    ----------
    dataset
        What is loaded, with a length.
    batch_size
        Samples in a batch; the last batch of an epoch may be smaller. None where there are budgets.
    budgets
        What a batch may hold of ``max_atoms`` and ``max_edges``, see `BudgetSampler`; the data set then has
        `sizes`, and gives a list of samples for a list of indices.
    sampler
        The order; default: that of the data set. Its `set_epoch` begins another epoch.
    position
        Says which epoch the training is in, and how many batches of it are done with. Without it, the epoch
        is what `set_epoch` of the sampler was told, and each batch that was handed out counts as consumed:
        also the one that is being worked on when a checkpoint is written because of an exception.
    kwargs
        Further options of `DataLoader`.

    Raises
    ------
    TypeError
        Where `sampler` is of a kind whose order cannot be had again.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        batch_size: int | None = 1,
        *,
        budgets: Mapping[str, int] | None = None,
        sampler: EpochSampler | SequentialSampler | None = None,
        position: Callable[[], tuple[int, int]] | None = None,
        **kwargs: Any,
    ) -> None:
        if kwargs.get("batch_sampler") is not None:
            # Lightning's, with which it makes a loader anew that it predicts from. That one is never resumed.
            sampler = None
        elif sampler is None or isinstance(sampler, SequentialSampler):
            # Lightning puts a SequentialSampler in where overfit_batches is asked for.
            sampler = make_sampler(dataset, batch_size, budgets, shuffle=False)
        elif not isinstance(sampler, EpochSampler):
            raise TypeError(f"sampler must be an EpochSampler, this is a {type(sampler).__name__}")
        # A generator of its own: drawing the seeds of workers must not change the random numbers of training.
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
        """The sampler, which knows the epoch."""
        return cast(EpochSampler, self.sampler)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        if not isinstance(self.sampler, EpochSampler):
            yield from map(unpacked, super().__iter__())
            return
        # A generator: nothing below runs before the first batch is asked for, as Lightning makes the iterator
        # before it knows the epoch. (After some checkpoints it tells samplers a wrong one: hence `position`.)
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
        """Epoch, number of consumed batches, and what the order of batches depends on."""
        epoch, done = (self.epoch_sampler.epoch, self._consumed) if self.position is None else self.position()
        consumed = min(self._consumed, done) if self._epoch == epoch else 0
        return {"epoch": epoch, "consumed": consumed} | self._identity()

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue where `state` was taken: at the next iteration, if it is of the same epoch.

        Raises
        ------
        ValueError
            Where the epoch has begun, and this loader would not give its remaining batches.
        """
        different = [
            f"{key} was {state.get(key)} and is {value}"
            for key, value in self._identity().items()
            if state.get(key) != value
        ]
        if different and 0 < state["consumed"] < len(self):
            raise ValueError(
                f"the checkpoint was written in the middle of epoch {state['epoch']}, which cannot go on: "
                f"{', '.join(different)}; use the same settings, or a checkpoint from the end of an epoch"
            )
        self.epoch_sampler.set_epoch(state["epoch"])
        self._epoch, self._consumed, self._resume = state["epoch"], state["consumed"], True

    def _identity(self) -> dict[str, int]:
        return self.epoch_sampler.identity()


def make_sampler(
    dataset: Any, batch_size: int | None, budgets: Mapping[str, int] | None, **options: Any
) -> EpochSampler:
    """Make the sampler for a batch size or for budgets, which go before it.

    Raises
    ------
    ValueError
        Where the data set does not record the sizes that a budget needs.
    """
    if not budgets:
        return EpochSampler(dataset, int(batch_size or 1), **options)
    sizes = {name: dataset.sizes(_SIZES[name]) for name in budgets}
    return BudgetSampler(dataset, sizes, budgets, **options)


def _worker_seed(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
