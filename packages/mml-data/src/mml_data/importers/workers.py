"""Run the parts of an import in this process or in several processes, with a common progress count."""

import multiprocessing
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Any, Self, TypeVar

from mml_data.importers.write_part import PartWriter, Stopped

__all__ = ["Workers"]

Value = TypeVar("Value")
Report = Callable[[int], object]

_POLL = 0.1
_done: Any = None
_stop: Any = None


def _set_up(done: Any, stop: Any) -> None:
    global _done, _stop
    _done, _stop = done, stop


def _write(writer: PartWriter) -> int:
    def report(count: int) -> None:
        with _done.get_lock():
            _done.value += count

    return writer(report, lambda: bool(_stop.value))


def _call(work: Callable[[], Value]) -> Value:
    return work()


class Workers:
    """Context manager for `jobs` worker processes, or for work in this process.

    Parameters
    ----------
    jobs
        Number of processes. With 1, this process does the work.
    report
        Function that is called with the number of finished structures.

    Notes
    -----
    Processes are spawned, not forked, because a fork of a process that has used threads can hang.
    """

    def __init__(self, jobs: int, report: Report) -> None:
        self.jobs = jobs
        self.report = report
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        if self.jobs > 1:
            context = multiprocessing.get_context("spawn")
            self._done, self._stop = context.Value("q", 0), context.Value("b", 0)
            self._pool = ProcessPoolExecutor(
                self.jobs, context, initializer=_set_up, initargs=(self._done, self._stop)
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._stop.value = 1
            self._pool.shutdown(cancel_futures=True)

    def write(self, writers: Sequence[PartWriter]) -> list[int]:
        """Write parts, and return the number of structures in each shard.

        Raises
        ------
        Exception
            If a part fails. The other parts are stopped, and the exception of the first failed part is
            raised.
        """
        if self._pool is None:
            return self._write_here(writers)
        futures = [self._pool.submit(_write, writer) for writer in writers]
        return self._wait(futures)

    def summarize(self, works: Sequence[Callable[[], Value]]) -> Iterable[Value]:
        """Call functions and yield their results in order."""
        return (work() for work in works) if self._pool is None else self._pool.map(_call, works)

    def _write_here(self, writers: Sequence[PartWriter]) -> list[int]:
        done = 0

        def report(count: int) -> None:
            nonlocal done
            done += count
            self.report(done)

        return [writer(report, lambda: False) for writer in writers]

    def _wait(self, futures: Sequence[Future[int]]) -> list[int]:
        reported = 0
        while not all(future.done() for future in futures):
            if any(future.done() and future.exception() is not None for future in futures):
                self._stop.value = 1
            if self._done.value != reported:
                reported = self._done.value
                self.report(reported)
            time.sleep(_POLL)
        if self._done.value != reported:
            self.report(self._done.value)
        errors = [error for future in futures if (error := future.exception()) is not None]
        for error in sorted(errors, key=lambda error: isinstance(error, Stopped)):
            if isinstance(error, BrokenProcessPool):
                raise RuntimeError("a process was killed from outside, perhaps as memory ran out") from error
            raise error
        return [future.result() for future in futures]
