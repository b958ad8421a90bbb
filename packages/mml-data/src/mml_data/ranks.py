"""Run work on all ranks of a distributed launch, or in a single process."""

import sys
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["Ranks"]

Value = TypeVar("Value")


class Ranks:
    """Ranks of torch.distributed if it is initialized, otherwise a single rank."""

    def __init__(self) -> None:
        # A process that has not imported torch.distributed has not initialized it.
        dist = sys.modules.get("torch.distributed")
        shared = dist is not None and dist.is_available() and dist.is_initialized()
        self.rank = dist.get_rank() if dist is not None and shared else 0
        self.size = dist.get_world_size() if dist is not None and shared else 1

    def each(self, work: Callable[[], Value]) -> list[Value]:
        """Call `work` on every rank and return the results of all ranks.

        An exception on one rank is raised on all ranks.
        """
        outcome: Any
        try:
            outcome = (work(), None)
        except Exception as error:
            if self.size == 1:
                raise
            outcome = (None, error)
        outcomes = self._gathered(outcome)
        for _, failure in outcomes:
            if failure is not None:
                raise failure
        return [value for value, _ in outcomes]

    def first(self, work: Callable[[], Value]) -> Value:
        """Call `work` on rank 0 only, and return its result or raise its exception on all ranks."""
        return self.each(lambda: work() if self.rank == 0 else None)[0]  # type: ignore[return-value]

    def _gathered(self, value: Any) -> list[Any]:
        if self.size == 1:
            return [value]
        import torch.distributed as dist

        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values
