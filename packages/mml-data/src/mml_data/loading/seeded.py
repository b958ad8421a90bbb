"""Seed random transforms so that their random numbers depend only on the seed, the epoch and the sample."""

from collections.abc import Iterable
from typing import overload

from mml_samples import Sample
from torch.utils.data import ConcatDataset, Dataset, Subset

from mml_data.dataset import LMDBDataset
from mml_data.loading.parts import Part
from mml_data.loading.sampler import EpochIndex
from mml_data.random_state import random_state_kept, seed_sample
from mml_data.transforms import Transform

__all__ = ["SeededSamples", "may_draw", "with_seeds"]

_EVALUATION = 2**64 - 1
"""Value used in place of the epoch in evaluation."""


class SeededSamples(Dataset[Sample]):
    """Data set wrapper that seeds the random numbers of each sample from the seed, the epoch and the index.

    The global generators of torch (CPU), NumPy and Python are seeded before each sample and restored after
    each batch. The random numbers that a transform draws from them therefore do not depend on the worker, on
    the number of workers or ranks, on the samples read before, or on the step at which a run was resumed.
    Reading samples does not change the random numbers of the training. A transform's own random generator is
    not seeded.

    Parameters
    ----------
    dataset
        Data set to read.
    seed
        Seed, not negative.
    fixed
        Whether to use the same random numbers for a sample in every epoch, for evaluation.
    """

    def __init__(self, dataset: Dataset[Sample], seed: int, *, fixed: bool = False) -> None:
        self.dataset = dataset
        self.seed = seed
        self.fixed = fixed

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: list[int]) -> list[Sample]: ...
    def __getitem__(self, index: int | list[int]) -> Sample | list[Sample]:
        """Return a sample, or a list of samples for a list of indices. A loader with budgets passes lists."""
        return self.__getitems__(index) if isinstance(index, list) else self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[Sample]:
        """Return the samples of a batch."""
        with random_state_kept():
            return [self._read(index) for index in indices]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.dataset!r}, seed={self.seed}, fixed={self.fixed})"

    def _read(self, index: int) -> Sample:
        epoch = _EVALUATION if self.fixed else index.epoch if isinstance(index, EpochIndex) else 0
        seed_sample(self.seed, epoch, int(index))
        return self.dataset[int(index)]


def with_seeds(dataset: Dataset[Sample], seed: int, *, fixed: bool = False) -> Dataset[Sample]:
    """Wrap `dataset` in `SeededSamples` if reading it may draw random numbers, otherwise return it."""
    return SeededSamples(dataset, seed, fixed=fixed) if may_draw(dataset) else dataset


def may_draw(dataset: Dataset[Sample]) -> bool:
    """Return whether reading a data set may draw random numbers.

    It may, unless the data set is one of this package (or a torch ``ConcatDataset`` or ``Subset`` of them)
    and all of its transforms declare ``is_random = False``.
    """
    if isinstance(dataset, Part):
        return _any_random(dataset.transforms) or may_draw(dataset.dataset)
    if isinstance(dataset, ConcatDataset):
        return any(map(may_draw, dataset.datasets))
    if type(dataset) is Subset:
        return may_draw(dataset.dataset)
    if isinstance(dataset, LMDBDataset) and type(dataset).__getitem__ is LMDBDataset.__getitem__:
        return _any_random(dataset.transforms)
    return True


def _any_random(transforms: Iterable[Transform]) -> bool:
    return any(map(_is_random, transforms))


def _is_random(transform: Transform) -> bool:
    """Return whether a transform is random: its ``is_random`` attribute, or True if it has none.

    A class that overrides ``__call__`` does not inherit the attribute.
    """
    if "is_random" in getattr(transform, "__dict__", ()):
        return bool(getattr(transform, "is_random", True))
    for each in type(transform).__mro__:
        if "is_random" in vars(each):
            return bool(getattr(transform, "is_random", True))
        if "__call__" in vars(each):
            break
    return True
