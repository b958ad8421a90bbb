"""Run the parts of an import in this process or in several processes, with a common progress count."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from threading import Thread
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from mml_data.importers.write_part import PartWriter, Stopped

__all__ = ["Pool", "Report", "Workers"]

Value = TypeVar("Value")
Report = Callable[[int], object]


class Pool(Protocol):
    """Processes that write the parts of an import. `Workers` and `DaskWorkers` are pools."""

    @property
    def size(self) -> int:
        """Number of parts into which a source should be divided."""
        ...

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def write(self, writers: Sequence[PartWriter]) -> list[int]:
        """Write parts, and return the number of structures in each shard."""
        ...

    def summarize(self, works: Sequence[Callable[[], Value]]) -> Iterator[Value]:
        """Call functions and yield their results in order."""
        ...


_POLL = 0.1
_done: Any = None
_stop: Any = None


def _set_up(done: Any, stop: Any) -> None:
    global _done, _stop
    _done, _stop = done, stop
    # Ctrl-C reaches all processes. The parent sets `stop`, and each worker then commits its structures.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    """Exit when the parent process is gone, so that a resumed import does not find another writer."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _ready() -> None:
    """Do nothing."""


def _write(writer: PartWriter) -> int:
    def report(count: int) -> None:
        with _done.get_lock():
            _done.value += count

    return writer(report, lambda: bool(_stop.value))


def _call(work: Callable[[], Value]) -> Value:
    return work()


@contextmanager
def _lost_process_explained() -> Iterator[None]:
    """Raise a RuntimeError with remedies if a process of the pool ended unexpectedly."""
    try:
        yield
    except BrokenProcessPool as error:
        raise RuntimeError(
            "a worker process ended unexpectedly; if it was killed because memory ran out, use fewer jobs; "
            "if it failed to start in your script, call this function under `if __name__ == '__main__':`"
        ) from error


class Workers:
    """Context manager that runs work in `jobs` processes.

    Parameters
    ----------
    jobs
        Number of processes. With 1, this process does the work.
    report
        Function that is called with the number of finished structures.

    Notes
    -----
    Processes are spawned, not forked, because a fork of a process that has used threads can hang. A spawned
    process imports this module and the main module of the program again. This module and the importers
    therefore do not import torch, and a program should start its work under ``if __name__ == "__main__":``.
    """

    def __init__(self, jobs: int, report: Report) -> None:
        self.jobs = jobs
        self.report = report
        self._pool: ProcessPoolExecutor | None = None

    @property
    def size(self) -> int:
        """Number of parts into which a source should be divided."""
        return self.jobs

    def __enter__(self) -> Self:
        if self.jobs > 1:
            context = multiprocessing.get_context("spawn")
            self._done, self._stop = context.Value("q", 0), context.Value("b", 0)
            self._pool = ProcessPoolExecutor(
                self.jobs, context, initializer=_set_up, initargs=(self._done, self._stop)
            )
            for _ in range(self.jobs):
                self._pool.submit(_ready)  # starts a process, which imports its modules in the meantime
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
        RuntimeError
            If a process ended unexpectedly.
        """
        if self._pool is None:
            return self._write_here(writers)
        with _lost_process_explained():
            return self._wait([self._pool.submit(_write, writer) for writer in writers])

    def summarize(self, works: Sequence[Callable[[], Value]]) -> Iterator[Value]:
        """Call functions and yield their results in order.

        Raises
        ------
        Exception
            If a function fails.
        RuntimeError
            If a process ended unexpectedly.
        """
        if self._pool is None:
            yield from map(_call, works)
            return
        with _lost_process_explained():
            yield from self._pool.map(_call, works)

    def _write_here(self, writers: Sequence[PartWriter]) -> list[int]:
        done = 0

        def report(count: int) -> None:
            nonlocal done
            done += count
            self.report(done)

        return [writer(report, lambda: False) for writer in writers]

    def _wait(self, futures: Sequence[Future[int]]) -> list[int]:
        reported = 0
        pending: set[Future[int]] = set(futures)
        while pending:
            done, pending = wait(pending, _POLL, FIRST_EXCEPTION)
            if any(future.exception() is not None for future in done):
                self._stop.value = 1
            if self._done.value != reported:
                reported = self._done.value
                self.report(reported)
        errors = [error for future in futures if (error := future.exception()) is not None]
        if errors:
            raise min(errors, key=lambda error: isinstance(error, Stopped))
        return [future.result() for future in futures]
