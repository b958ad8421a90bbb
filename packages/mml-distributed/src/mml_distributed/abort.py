"""Abort the whole job when one rank fails.

If a rank exits with a nonzero status without having sent a PMI command, Hydra (MPICH, Intel MPI) waits for
the other ranks. Every MPI waits if a rank ends after MPI_Init, because mpi4py calls MPI_Finalize at exit and
MPI_Finalize is collective. A rank that ends with an exception or with a nonzero `sys.exit` therefore aborts
the job first: through Hydra's PMI connection, or with MPI_Abort. The launchers detect killed ranks
themselves.
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
"""Time for the traceback to be printed and forwarded before the launcher kills all ranks, in seconds."""

_abort: Callable[[int], None] | None = None
_on_success: list[Callable[[], None]] = []
_exit_code: object = None
"""Argument of the last call of `sys.exit`. Exit handlers cannot get it from Python."""


def abort_job_on_failure(launch: Launch, env: Mapping[str, str]) -> None:
    """Install hooks that end all ranks if this rank fails with an uncaught exception or a nonzero `sys.exit`.

    The hooks are installed once per process, and only if the job has more than one rank. If the process exits
    without a failure, torch's process groups are destroyed, whatever their backend.

    Parameters
    ----------
    launch
        The launch that this process belongs to.
    env
        Environment variables. `PMI_FD` is the connection to Hydra.
    """
    global _abort
    if _abort or launch.size == 1:
        return
    descriptor = env.get("PMI_FD", "")
    pmi = int(descriptor) if launch.launcher == HYDRA and descriptor.isdecimal() else None
    previous_hook, previous_exit, process = sys.excepthook, sys.exit, os.getpid()

    failed = threading.Event()

    def abort(code: int) -> None:
        running = mpi.initialized()
        if pmi is None and running is None:
            return  # Open MPI and srun --kill-on-bad-exit end the job themselves
        if os.getpid() != process:
            return  # a forked child, such as a data loader worker: its parent notices the failure and decides
        sys.stdout.flush()
        sys.stderr.flush()
        time.sleep(GRACE_SECONDS)
        if pmi is not None:
            # PMI-1 wire protocol. Hydra accepts this command even from a process that never sent `init`.
            os.write(pmi, f"cmd=abort exitcode={code}\n".encode())
        elif running is not None:
            running.COMM_WORLD.Abort(code)

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        previous_hook(kind, error, trace)
        # Abort in a thread, because torch wraps this hook in another one that prints the traceback after this
        # hook has returned. Start the thread before the exit handlers, which may wait for the other ranks:
        # Python joins this thread before it runs them.
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
            # The operating system keeps only the last 8 bits, but an exit code of 256 is a failure as well.
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
    """Register a function to call at an exit without a failure, after process groups are destroyed."""
    _on_success.append(call)


def _destroy_process_groups() -> None:
    distributed = getattr(sys.modules.get("torch"), "distributed", None)
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def abort_job() -> None:
    """End all ranks of the job now, if the other ranks would otherwise wait for this rank.

    Call this function in programs that catch their own errors and exit without calling `sys.exit`. It
    does nothing outside an MPI job that `MPIEnvironment` has read.
    """
    if _abort is not None:
        _abort(EXIT_CODE)
