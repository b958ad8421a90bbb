"""The order of a data set in an epoch, for one of several ranks."""

from collections.abc import Iterator, Sized
from typing import Self

import numpy as np
import torch.distributed as dist
from torch.utils.data.distributed import DistributedSampler

__all__ = ["EpochIndex", "EpochSampler", "epoch_order"]


def epoch_order(size: int, seed: int, epoch: int) -> np.ndarray:
    """Return a permutation of ``range(size)`` that is a pure function of its arguments: [size] int64."""
    return np.random.Generator(np.random.PCG64([seed, epoch])).permutation(size)


class EpochIndex(int):
    """The index of a sample, and the epoch in which it is read: what a random transform may depend on.

    The epoch travels with the index because workers that live on between epochs do not hear of a new one.
    """

    epoch: int

    def __new__(cls, index: int, epoch: int) -> Self:
        """Make the index of an epoch."""
        made = super().__new__(cls, index)
        made.epoch = epoch
        return made

    def __reduce__(self) -> tuple[type[Self], tuple[int, int]]:
        return type(self), (int(self), self.epoch)


class EpochSampler(DistributedSampler[int]):
    """Each sample once an epoch, over all ranks together, in an order that seed and epoch alone decide.

    Unlike torch's `DistributedSampler`, whose place it takes (Lightning leaves it where it is because it is
    one), it does not repeat samples to give each rank as many. Ranks must make the same number of steps,
    though: where they would not, because less than one sample a rank is left over after full batches, a
    rank without one repeats a sample. The indices that it yields hold the epoch, see `EpochIndex`.

    Parameters
    ----------
    dataset
        What is sampled; only its length matters.
    batch_size
        Samples in a batch of one rank.
    shuffle
        Whether the order is random (a new one in each epoch) or that of the data set.
    seed
        Seed of the order, not negative.
    num_replicas, rank
        Number of ranks, and which one this is; default: those of torch.distributed, or one.
    """

    def __init__(
        self,
        dataset: Sized,
        batch_size: int,
        *,
        shuffle: bool = True,
        seed: int = 0,
        num_replicas: int | None = None,
        rank: int | None = None,
    ) -> None:
        if len(dataset) == 0:
            raise ValueError("there are no samples to draw from: the data set is empty")
        if seed < 0:
            raise ValueError(f"seed must not be negative, it is {seed}")
        initialized = dist.is_available() and dist.is_initialized()
        super().__init__(
            dataset,  # type: ignore[arg-type]
            num_replicas=num_replicas
            if num_replicas is not None
            else dist.get_world_size()
            if initialized
            else 1,
            rank=rank if rank is not None else dist.get_rank() if initialized else 0,
            shuffle=shuffle,
            seed=seed,
        )
        self.batch_size = batch_size
        # The sample of this rank's part where the next iteration starts; ResumableDataLoader sets it.
        self.start = 0

    def __iter__(self) -> Iterator[int]:
        epoch = self.epoch
        return iter([EpochIndex(index, epoch) for index in self.indices()[self.start :].tolist()])

    def __len__(self) -> int:
        return len(self._share(np.arange(len(self.dataset))))  # type: ignore[arg-type]

    def identity(self) -> dict[str, int]:
        """Say what the order of the samples depends on, for a checkpoint."""
        return {
            "samples": len(self.dataset),  # type: ignore[arg-type]
            "batch_size": self.batch_size,
            "seed": self.seed,
            "shuffle": int(self.shuffle),
            "ranks": self.num_replicas,
        }

    def indices(self) -> np.ndarray:
        """Return what this rank reads in the whole of the current epoch, in order: [len(self)] int64."""
        size = len(self.dataset)  # type: ignore[arg-type]
        return self._share(epoch_order(size, self.seed, self.epoch) if self.shuffle else np.arange(size))

    def _share(self, order: np.ndarray) -> np.ndarray:
        least, rest = divmod(len(order), self.num_replicas)
        if rest and least % self.batch_size == 0:
            order = np.resize(order, (least + 1) * self.num_replicas)
        return order[self.rank :: self.num_replicas]
