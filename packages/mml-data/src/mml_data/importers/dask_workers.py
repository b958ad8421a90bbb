"""Run the parts of an import on a Dask cluster.

Every part is one task, which calls the same function as a local process. If a worker is lost, Dask runs its
task again on another worker, and the task continues after the committed structures of the shard. A lock on
each shard ensures that only one task writes it, even if a worker that Dask considers lost is still running.

The workers and the client must share the file system with the data set. A file in its directory, the token,
proves that they do. When the client removes the token, the running tasks commit their structures and stop.
"""

import errno
import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar
from uuid import uuid4

from mml_data.importers.workers import Report
from mml_data.importers.write_part import PartWriter, Stopped

if TYPE_CHECKING:
    from distributed.client import Client

__all__ = ["DaskWorkers"]

Value = TypeVar("Value")

_PARTS_PER_THREAD = 2
_CONNECT = 30.0
_CHECK = 1.0
_WAIT = 60.0
_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)


class DaskWorkers:
    """Context manager that runs work on the workers of a Dask cluster.

    Parameters
    ----------
    scheduler
        Address of the scheduler, such as ``"tcp://node1:8786"``.
    report
        Function that is called with the number of finished structures whenever a part is finished.
    parts
        Number of parts into which a source is divided. Default: two for each thread of the workers.
    """

    def __init__(self, scheduler: str, report: Report, parts: int | None = None) -> None:
        self.scheduler = scheduler
        self.report = report
        self.parts = parts
        self._client: Client | None = None
        self._token: Path | None = None

    @property
    def size(self) -> int:
        """Number of parts into which a source should be divided."""
        if self.parts is not None:
            return self.parts
        return _PARTS_PER_THREAD * sum(self._cluster.nthreads().values())

    @property
    def _cluster(self) -> "Client":
        if self._client is None:
            raise RuntimeError("the cluster is not connected; use DaskWorkers as a context manager")
        return self._client

    def __enter__(self) -> Self:
        try:
            from distributed.client import Client
        except ImportError as error:
            raise ImportError(
                "an import with a scheduler requires Dask; install it with `pip install 'mml-data[dask]'`"
            ) from error
        try:
            self._client = Client(self.scheduler, timeout=_CONNECT, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ConnectionError(
                f"no Dask scheduler answers at {self.scheduler!r}: {error}; start one with `dask scheduler`, "
                "and workers with `dask worker ADDRESS --nthreads 1`"
            ) from error
        try:
            self._client.wait_for_workers(1, timeout=_CONNECT)
        except TimeoutError as error:
            self._client.close()
            raise ConnectionError(
                f"the Dask scheduler at {self.scheduler!r} has no workers; start them with "
                f"`dask worker {self.scheduler} --nthreads 1`"
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._remove_token()
        self._cluster.close()

    def write(self, writers: Sequence[PartWriter]) -> list[int]:
        """Write parts, and return the number of structures in each shard.

        Raises
        ------
        Exception
            If a part fails. The other parts are stopped, and the exception of the first failed part is
            raised.
        RuntimeError
            If a part lost several workers.
        """
        if not writers:
            return []
        directory = writers[0].shard.parent
        for old in directory.glob("token-*"):
            old.unlink()  # stops the tasks of a client that was killed
        self._token = directory / f"token-{uuid4().hex}"
        self._token.touch()
        try:
            return self._gather(_write, [(writer, self._token) for writer in writers], self._report_parts())
        finally:
            self._remove_token()

    def summarize(self, works: Sequence[Callable[[], Value]]) -> Iterator[Value]:
        """Call functions and yield their results in order.

        Raises
        ------
        Exception
            If a function fails.
        RuntimeError
            If a function lost several workers.
        """
        yield from self._gather(_call, [(work,) for work in works], lambda count: None)

    def _report_parts(self) -> Callable[[int], None]:
        done = 0

        def report(count: int) -> None:
            nonlocal done
            done += count
            self.report(done)

        return report

    def _gather(
        self,
        function: Callable[..., Value],
        calls: Sequence[tuple[Any, ...]],
        finished: Callable[[Any], None],
    ) -> list[Value]:
        """Call a function with each tuple of arguments on the workers, and return the results in order."""
        from distributed.client import as_completed
        from distributed.scheduler import KilledWorker

        futures = [self._cluster.submit(function, *arguments, pure=False) for arguments in calls]
        failure: BaseException | None = None
        for future in as_completed(futures, loop=self._cluster.loop):
            error = future.exception()
            if error is None:
                finished(future.result())
            elif failure is None or isinstance(failure, Stopped):
                failure = error
                self._remove_token()  # the other parts commit their structures and stop
        if isinstance(failure, KilledWorker):
            raise RuntimeError(
                "the task lost several workers; if they were killed because memory ran out, give them more "
                f"memory, or divide the source into more parts with jobs (--jobs): {failure}"
            ) from failure
        if failure is not None:
            raise failure
        return [future.result() for future in futures]

    def _remove_token(self) -> None:
        if self._token is not None:
            self._token.unlink(missing_ok=True)
            self._token = None


def _call(work: Callable[[], Value]) -> Value:
    return work()


def _write(writer: PartWriter, token: Path) -> int:
    """Write a part on a worker."""
    if not token.parent.is_dir():
        raise FileNotFoundError(
            f"the Dask worker on {socket.gethostname()} does not see {str(token.parent)!r}; the workers must "
            "share a file system with the client"
        )
    checked = -_CHECK

    def stopped() -> bool:
        nonlocal checked
        if time.monotonic() - checked < _CHECK:
            return False
        checked = time.monotonic()
        return not token.exists()

    if stopped():
        raise Stopped
    with _lock(writer.shard.with_suffix(".lock")):
        return writer(lambda count: None, stopped)


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Lock a file against other processes, also on other machines, and wait if it is locked."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        deadline = time.monotonic() + _WAIT
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise BlockingIOError(
                        f"another Dask worker is still writing {str(path.with_suffix('.lmdb'))!r}; wait "
                        "until it ends, and resume"
                    ) from error
                time.sleep(0.1)
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
                raise OSError(
                    error.errno,
                    "the file system does not support locks, without which two workers could write the same "
                    "shard; import without scheduler, with jobs (--jobs) or mpirun",
                    str(path),
                ) from error
            else:
                break
        yield
    finally:
        os.close(descriptor)
