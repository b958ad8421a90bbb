"""Exchange sums, rows and plain objects between ranks."""

from __future__ import annotations

from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


def world_size() -> int:
    """Return the number of ranks that train together; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_over_ranks(values: Tensor) -> Tensor:
    """Return the sum of a tensor over all ranks, without gradient; every rank must call this."""
    if world_size() == 1:
        return values
    total = values.detach().clone()
    dist.all_reduce(total)
    return total


def rows_of_all_ranks(values: Tensor) -> Tensor:
    """Return the values [n] of all ranks, concatenated and equal on each rank; every rank must call this.

    ``n`` may differ between ranks. The host waits for the device to find the largest ``n``.
    """
    ranks = world_size()
    if ranks == 1:
        return values
    sizes = [torch.zeros(1, dtype=torch.int64, device=values.device) for _ in range(ranks)]
    dist.all_gather(sizes, torch.tensor([values.shape[0]], device=values.device))
    counts = [int(size) for size in sizes]
    padded = values.new_zeros(max(counts))
    padded[: values.shape[0]] = values.detach()
    parts = [torch.zeros_like(padded) for _ in range(ranks)]
    dist.all_gather(parts, padded)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


def objects_of_all_ranks(value: T) -> list[T]:
    """Return the plain objects of all ranks, in rank order; every rank must call this."""
    ranks = world_size()
    if ranks == 1:
        return [value]
    found: list[T | None] = [None] * ranks
    dist.all_gather_object(found, value)
    return found  # type: ignore[return-value]
