"""Sampler that fills batches up to a budget of atoms or edges."""

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping, Sized

import numpy as np

from mml_data.loading.sampler import EpochIndex, EpochSampler, epoch_order

__all__ = ["BudgetSampler", "pack"]

_OPEN = 64
_SLACK = 0.01


def pack(sizes: np.ndarray, budgets: np.ndarray, order: np.ndarray) -> list[list[int]]:
    """Pack samples into batches (best fit): each sample goes into the fullest batch with enough room.

    Parameters
    ----------
    sizes
        Size of each of N samples with respect to each of K budgets, [N, K] integers.
    budgets
        Maximum total size of a batch, [K] integers. No sample may exceed it.
    order
        Indices of the samples to pack, in order, [n] integers.

    Returns
    -------
    list
        Batches, as lists of sample indices. At most 64 batches are open at a time. If another one is needed,
        the fullest batch is closed.
    """
    wanted = sizes[order].tolist()
    smallest = int(sizes[:, 0].min()) if len(sizes) else 0
    whole = budgets.tolist()
    closed: list[list[int]] = []
    # Remaining budgets, number and samples of each open batch, in ascending order of the first remaining
    # budget. The number breaks ties.
    waiting: list[tuple[list[int], int, list[int]]] = []
    for number, (sample, takes) in enumerate(zip(order.tolist(), wanted, strict=True)):
        at = bisect_left(waiting, (takes,))
        while at < len(waiting) and any(
            have < take for have, take in zip(waiting[at][0], takes, strict=True)
        ):
            at += 1
        if at < len(waiting):
            left, _, batch = waiting.pop(at)
        else:
            if len(waiting) >= _OPEN:
                closed.append(waiting.pop(0)[2])
            left, batch = whole, []
        batch.append(sample)
        left = [have - take for have, take in zip(left, takes, strict=True)]
        if left[0] < smallest:
            closed.append(batch)
        else:
            insort(waiting, (left, number, batch))
    return closed + [batch for _, _, batch in waiting]


class BudgetSampler(EpochSampler):
    """Distributed sampler of batches that contain as many samples as fit into budgets of atoms or edges.

    Each sample is drawn once per epoch over all ranks together. The sampler yields lists of indices, for a
    loader with ``batch_size=None``. In every step, the batches of all ranks have about the same size, so that
    all ranks finish at about the same time. All epochs have the same number of batches: if an epoch would
    have fewer, some of its batches are divided. A sample is repeated only if there are too few samples for
    the number of batches.

    Parameters
    ----------
    dataset
        Data set to sample from. Only its length is used.
    sizes
        Name of a budget to the size of each sample, [len(dataset)] integers.
    budgets
        Name of a budget to the maximum total size of a batch. The last budget is used to estimate the
        computing time of a batch.
    shuffle, seed, num_replicas, rank
        See `EpochSampler`.

    Raises
    ------
    ValueError
        If no budget is given, if a budget is below 1, or if a single sample exceeds a budget.
    """

    def __init__(
        self,
        dataset: Sized,
        sizes: Mapping[str, np.ndarray],
        budgets: Mapping[str, int],
        *,
        shuffle: bool = True,
        seed: int = 0,
        num_replicas: int | None = None,
        rank: int | None = None,
    ) -> None:
        super().__init__(dataset, 1, shuffle=shuffle, seed=seed, num_replicas=num_replicas, rank=rank)
        if not budgets:
            raise ValueError("no budget is given; pass max_atoms or max_edges")
        for name, budget in budgets.items():
            if budget < 1:
                raise ValueError(f"{name} must be at least 1, got {budget}")
            largest = int(np.argmax(sizes[name]))
            if sizes[name][largest] > budget:
                raise ValueError(
                    f"sample {largest} has the size {sizes[name][largest]}, which exceeds {name}={budget}; "
                    f"increase {name}, or remove the sample"
                )
        self.budgets = dict(budgets)
        self._sizes = np.stack([np.asarray(sizes[name], dtype=np.int64) for name in budgets], axis=1)
        self._budgets = np.array(list(budgets.values()))
        self._made: tuple[int, list[list[int]]] | None = None
        first = len(self._packed(0))
        if shuffle:
            first = max(round(first * (1 + _SLACK)), len(self._packed(None)))
        self._number = -(-first // self.num_replicas) * self.num_replicas

    def __iter__(self) -> Iterator[list[int]]:  # type: ignore[override]
        epoch = self.epoch
        return iter([[EpochIndex(index, epoch) for index in batch] for batch in self.batches()[self.start :]])

    def __len__(self) -> int:
        return self._number // self.num_replicas

    def identity(self) -> dict[str, int]:
        """Return the settings that determine the order of the samples, for a checkpoint."""
        return super().identity() | self.budgets

    def batches(self) -> list[list[int]]:
        """Return the batches of this rank in the current epoch, as [len(self)] lists of indices."""
        if self._made is None or self._made[0] != self.epoch:
            self._made = self.epoch, self._share_batches()
        return self._made[1]

    def _packed(self, epoch: int | None) -> list[list[int]]:
        """Return the batches of an epoch.

        If `epoch` is None, pack the samples in descending order of size. This order never needs more batches.
        """
        if not self.shuffle:
            return _in_order(self._sizes, self._budgets)
        if epoch is None:
            order = np.argsort(-self._sizes[:, 0], kind="stable")
        else:
            order = epoch_order(len(self._sizes), self.seed, epoch)
        return pack(self._sizes, self._budgets, order)

    def _share_batches(self) -> list[list[int]]:
        batches = self._packed(self.epoch)
        if len(batches) > self._number:
            batches = self._packed(None)
        batches = self._divided(batches)
        if not self.shuffle:
            return batches[self.rank :: self.num_replicas]
        load = [self._sizes[batch, -1].sum() for batch in batches]
        steps = np.argsort(load, kind="stable").reshape(-1, self.num_replicas)
        generator = np.random.Generator(np.random.PCG64([self.seed, self.epoch, 1]))
        steps = generator.permuted(generator.permutation(steps), axis=1)
        return [batches[number] for number in steps[:, self.rank]]

    def _divided(self, batches: list[list[int]]) -> list[list[int]]:
        """Halve the batches with the most samples until there are as many batches as in every epoch."""
        batches = [list(batch) for batch in batches]
        while len(batches) < self._number:
            largest = max(range(len(batches)), key=lambda number: len(batches[number]))
            batch = batches[largest]
            if len(batch) == 1:
                batches.append(batch)
                continue
            batches[largest : largest + 1] = [batch[: len(batch) // 2], batch[len(batch) // 2 :]]
        return batches


def _in_order(sizes: np.ndarray, budgets: np.ndarray) -> list[list[int]]:
    """Put samples into batches in order.

    A new batch starts when a sample does not fit into the current one.
    """
    batches: list[list[int]] = []
    left = np.zeros_like(budgets)
    for sample, takes in enumerate(sizes):
        if not batches or (takes > left).any():
            batches.append([])
            left = budgets.copy()
        batches[-1].append(sample)
        left -= takes
    return batches
