"""One rank that fails ends the job.

Hydra (MPICH, Intel MPI) waits for the other ranks when one exits non-zero without having called MPI, and
those wait for it until their timeout. Asking Hydra over its PMI connection to abort ends all at once. Open
MPI does so by itself; srun does with `--kill-on-bad-exit`.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType

from mml_distributed.launch import HYDRA, Launch

EXIT_CODE = 1
GRACE_SECONDS = 0.5
"""For the traceback to be printed and passed on, before the launcher kills us with everyone else."""

_abort: Callable[[], None] | None = None


def abort_job_on_exception(launch: Launch, env: Mapping[str, str]) -> None:
    """From now on, an exception that nobody catches ends all ranks, after its traceback is printed.

    Done once a process, and only where it is needed: several ranks, under Hydra.
    """
    global _abort
    pmi = env.get("PMI_FD", "")
    if _abort or launch.launcher != HYDRA or launch.size == 1 or not pmi.isdecimal():
        return
    previous = sys.excepthook

    def abort() -> None:
        time.sleep(GRACE_SECONDS)
        # PMI-1 wire protocol. Hydra takes it also from a process that never said `init`.
        os.write(int(pmi), f"cmd=abort exitcode={EXIT_CODE}\n".encode())

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        previous(kind, error, trace)
        # From a thread: torch puts a hook around this one that prints the traceback once it returns. And
        # before exit handlers, which may wait for the other ranks: Python waits for this thread first.
        threading.Thread(target=abort, name="mml-distributed-abort").start()

    sys.excepthook = hook
    _abort = abort


def abort_job() -> None:
    """End all ranks of the job now, where it is one that would wait for this rank.

    For programs that catch their errors themselves and exit non-zero: `abort_job_on_exception` sees only
    those that nobody catches. Does nothing outside an MPI job that `MPIEnvironment` has read.
    """
    if _abort is not None:
        _abort()
