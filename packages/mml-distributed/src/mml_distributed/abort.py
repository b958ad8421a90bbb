"""One rank that fails ends the job.

Hydra (MPICH, Intel MPI) waits for the other ranks when one exits non-zero without having spoken to it, and
every MPI waits when one ends after MPI_Init: MPI_Finalize, which mpi4py calls at exit, is collective. So a
rank that ends by an exception or by `sys.exit` with a failure has the job aborted first: by Hydra, over
the PMI connection, or by MPI_Abort. A rank that is killed is seen by the launchers themselves.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import NoReturn

from mml_distributed import mpi
from mml_distributed.launch import HYDRA, Launch

EXIT_CODE = 1
GRACE_SECONDS = 0.5
"""For the traceback to be printed and passed on, before the launcher kills us with everyone else."""

_abort: Callable[[int], None] | None = None
_on_success: list[Callable[[], None]] = []
_exit_code: object = None
"""What `sys.exit` was last called with; exit handlers cannot ask Python."""


def abort_job_on_failure(launch: Launch, env: Mapping[str, str]) -> None:
    """From now on, an exception that nobody catches, and `sys.exit` with a failure, end all ranks.

    Done once a process, and only where there are several ranks. Process groups of torch are destroyed at an
    exit without a failure, whatever their backend.
    """
    global _abort
    if _abort or launch.size == 1:
        return
    descriptor = env.get("PMI_FD", "")
    pmi = int(descriptor) if launch.launcher == HYDRA and descriptor.isdecimal() else None
    previous_hook, previous_exit, process = sys.excepthook, sys.exit, os.getpid()

    failed = threading.Event()

    def abort(code: int) -> None:
        running = mpi.initialised()
        if pmi is None and running is None:
            return  # Open MPI and srun --kill-on-bad-exit end the job on their own
        if os.getpid() != process:
            return  # a forked child, such as a worker of a data loader: its parent hears of it and decides
        sys.stdout.flush()
        sys.stderr.flush()
        time.sleep(GRACE_SECONDS)
        if pmi is not None:
            # PMI-1 wire protocol. Hydra takes it also from a process that never said `init`.
            os.write(pmi, f"cmd=abort exitcode={code}\n".encode())
        elif running is not None:
            running.COMM_WORLD.Abort(code)

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        previous_hook(kind, error, trace)
        # From a thread: torch puts a hook around this one that prints the traceback once it returns. And
        # before exit handlers, which may wait for the other ranks: Python waits for this thread first.
        failed.set()
        threading.Thread(target=abort, args=(EXIT_CODE,), name="mml-distributed-abort").start()

    def exit_and_remember(code: object = None, /) -> NoReturn:
        global _exit_code
        _exit_code = code
        previous_exit(code)  # type: ignore[arg-type]

    def at_exit() -> None:
        if os.getpid() != process:
            return
        if failed.is_set():
            return
        if _exit_code not in (None, 0):
            # The system keeps the last 8 bits, and 256 is a failure all the same.
            abort((_exit_code & 255 if isinstance(_exit_code, int) else 0) or EXIT_CODE)
        else:
            _destroy_process_groups()
            for call in _on_success:
                call()

    sys.excepthook = hook
    sys.exit = exit_and_remember
    atexit.register(at_exit)
    _abort = abort


def on_success(call: Callable[[], None]) -> None:
    """Have a function called at an exit without a failure, after process groups are destroyed."""
    _on_success.append(call)


def _destroy_process_groups() -> None:
    distributed = getattr(sys.modules.get("torch"), "distributed", None)
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def abort_job() -> None:
    """End all ranks of the job now, where it is one that would wait for this rank.

    For programs that catch their errors themselves and leave other than by `sys.exit`. Does nothing outside
    an MPI job that `MPIEnvironment` has read.
    """
    if _abort is not None:
        _abort(EXIT_CODE)
