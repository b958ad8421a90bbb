"""Samplers that define the order of a data set in an epoch for each of several ranks."""

from collections.abc import Iterator, Sized
from typing import Self

import numpy as np
import torch.distributed as dist
from torch.utils.data.distributed import DistributedSampler

__all__ = ["EpochIndex", "EpochSampler", "epoch_order"]


def epoch_order(size: int, seed: int, epoch: int) -> np.ndarray:
    """Return a permutation of ``range(size)``, [size] int64, that depends only on the arguments."""
    return np.random.Generator(np.random.PCG64([seed, epoch])).permutation(size)


class EpochIndex(int):
    """Index of a sample together with the epoch in which it is read, as input for random transforms.

    The index carries the epoch because persistent workers are not notified of a new epoch.
    """

    epoch: int

    def __new__(cls, index: int, epoch: int) -> Self:
        """Create an index that carries its epoch."""
        made = super().__new__(cls, index)
        made.epoch = epoch
        return made

    def __reduce__(self) -> tuple[type[Self], tuple[int, int]]:
        return type(self), (int(self), self.epoch)


class EpochSampler(DistributedSampler[int]):
    """Distributed sampler that draws each sample once per epoch over all ranks together.

    The order depends only on the seed and the epoch. The class derives from torch's `DistributedSampler`, so
    Lightning does not replace it. Unlike that class, it does not repeat samples to give each rank the same
    number of samples. However, all ranks must make the same number of steps. If fewer samples than ranks
    remain after full batches, each rank without a remaining sample repeats a sample. The yielded indices
    carry the epoch, see `EpochIndex`.

    Parameters
    ----------
    dataset
        Data set to sample from. Only its length is used.
    batch_size
        Number of samples in a batch of one rank.
    shuffle
        Whether to use a random order, which differs from epoch to epoch. Otherwise the order of the data set
        is used.
    seed
        Seed of the order, not negative.
    num_replicas, rank
        Number of ranks, and index of this rank. Default: the values of torch.distributed if it is
        initialized, otherwise a single rank.

    Raises
    ------
    ValueError
        If the data set is empty or the seed is negative.
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
            raise ValueError("the data set has no samples")
        if seed < 0:
            raise ValueError(f"seed must be at least 0, got {seed}")
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
        # Index in this rank's share of the samples at which the next iteration starts. ResumableDataLoader
        # sets it.
        self.start = 0

    def __iter__(self) -> Iterator[int]:
        epoch = self.epoch
        return iter([EpochIndex(index, epoch) for index in self.indices()[self.start :].tolist()])

    def __len__(self) -> int:
        return len(self._share(np.arange(len(self.dataset))))  # type: ignore[arg-type]

    def identity(self) -> dict[str, int]:
        """Return the settings that determine the order of the samples, for a checkpoint."""
        return {
            "samples": len(self.dataset),  # type: ignore[arg-type]
            "batch_size": self.batch_size,
            "seed": self.seed,
            "shuffle": int(self.shuffle),
            "ranks": self.num_replicas,
        }

    def indices(self) -> np.ndarray:
        """Return the indices that this rank reads in the whole current epoch, in order, [len(self)] int64."""
        size = len(self.dataset)  # type: ignore[arg-type]
        return self._share(epoch_order(size, self.seed, self.epoch) if self.shuffle else np.arange(size))

    def _share(self, order: np.ndarray) -> np.ndarray:
        least, rest = divmod(len(order), self.num_replicas)
        if rest and least % self.batch_size == 0:
            order = np.resize(order, (least + 1) * self.num_replicas)
        return order[self.rank :: self.num_replicas]
