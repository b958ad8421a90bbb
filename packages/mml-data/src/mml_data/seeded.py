"""Random numbers of transforms that depend on the sample and the epoch only."""

import hashlib
import random
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils.data import ConcatDataset, Dataset, Subset

from mml_data.dataset import LMDBDataset
from mml_data.parts import Part
from mml_data.sampler import EpochIndex

__all__ = ["SeededSamples", "may_draw", "random_state_kept", "seed_sample", "with_seeds"]

_EVALUATION = 2**64 - 1
"""Stands for the epoch where there is none."""


class SeededSamples(Dataset[Any]):
    """A data set whose samples are read with random numbers that depend on seed, epoch and index only.

    Before a sample is read, the global generators of torch (CPU), NumPy and Python are seeded; after a batch
    they are as they were. What a transform draws from them therefore does not depend on the worker, on the
    number of workers or ranks, on what was read before, or on where a run was resumed; and reading does not
    change the random numbers of the training. A generator that a transform holds itself is not reached.

    Parameters
    ----------
    dataset
        What is read.
    seed
        The seed, not negative.
    fixed
        Read a sample with the same random numbers in every epoch, for evaluation.
    """

    def __init__(self, dataset: Dataset[Any], seed: int, *, fixed: bool = False) -> None:
        self.dataset = dataset
        self.seed = seed
        self.fixed = fixed

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: int | list[int]) -> Any:
        """Return a sample; of a list of indices, as a loader by budget asks for, a list of samples."""
        return self.__getitems__(index) if isinstance(index, list) else self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[Any]:
        """Return the samples of a batch."""
        with random_state_kept():
            return [self._read(index) for index in indices]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.dataset!r}, seed={self.seed}, fixed={self.fixed})"

    def _read(self, index: int) -> Any:
        epoch = _EVALUATION if self.fixed else index.epoch if isinstance(index, EpochIndex) else 0
        seed_sample(self.seed, epoch, int(index))
        return self.dataset[int(index)]


def with_seeds(dataset: Dataset[Any], seed: int, *, fixed: bool = False) -> Dataset[Any]:
    """Return `dataset` as `SeededSamples` if reading it may draw random numbers, and else as it is."""
    return SeededSamples(dataset, seed, fixed=fixed) if may_draw(dataset) else dataset


def may_draw(dataset: Dataset[Any]) -> bool:
    """Tell whether reading a data set may draw random numbers.

    It may unless it is a data set of this package and every transform says ``is_random = False``.
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


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Leave the global generators of torch (CPU), NumPy and Python as they were."""
    state = (
        torch.default_generator.get_state(),
        np.random.get_state(),  # noqa: NPY002 - transforms of users draw from it
        random.getstate(),
    )
    try:
        yield
    finally:
        torch.default_generator.set_state(state[0])
        np.random.set_state(state[1])  # noqa: NPY002
        random.setstate(state[2])


def seed_sample(seed: int, epoch: int, index: int) -> None:
    """Seed the global generators of torch (CPU), NumPy and Python for one sample."""
    key = struct.pack("<QQ", epoch, index) + str(seed).encode()
    one, two, three = struct.unpack("<QQI", hashlib.blake2b(key, digest_size=20).digest())
    # Not torch.manual_seed, which seeds the generators of all devices, those of the training.
    torch.default_generator.manual_seed(one)
    random.seed(two)
    np.random.seed(three)  # noqa: NPY002


def _any_random(transforms: Iterable[Any]) -> bool:
    return any(map(_is_random, transforms))


def _is_random(transform: Any) -> bool:
    """Tell what a transform says of itself; a class that overrides ``__call__`` has to say it anew."""
    if "is_random" in getattr(transform, "__dict__", ()):
        return bool(transform.is_random)
    for each in type(transform).__mro__:
        if "is_random" in vars(each):
            return bool(transform.is_random)
        if "__call__" in vars(each):
            break
    return True
