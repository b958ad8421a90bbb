"""How many threads a rank may start, from the cores that it was given."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

import torch

from mml_distributed.ancestry import ancestors
from mml_distributed.launchers import MAKERS


def thread_count(mine: set[int], launchers: set[int], local_size: int) -> int:
    """Return the number of threads for a rank.

    Parameters
    ----------
    mine
        Cores that the rank may run on.
    launchers
        Cores that the launcher's process on this node may run on.
    local_size
        Number of ranks on the node.

    Returns
    -------
    int
        All cores of a rank that was pinned to fewer than its launcher has; else its share of them.
    """
    return len(mine) if mine < launchers else max(1, len(mine) // local_size)


def set_thread_count(env: MutableMapping[str, str], local_size: int | None) -> None:
    """Set torch's threads and OMP_NUM_THREADS for this rank, unless OMP_NUM_THREADS is there.

    Nothing is changed where the number of ranks on the node or the cores are not known (macOS).
    """
    if env.get("OMP_NUM_THREADS") or not local_size or not hasattr(os, "sched_getaffinity"):
        return
    mine = os.sched_getaffinity(0)
    launcher = next((process.pid for process in ancestors() if process.name in MAKERS), os.getppid())
    try:
        launchers = os.sched_getaffinity(launcher)
    except OSError:  # it is not ours to ask about
        launchers = mine
    threads = thread_count(mine, launchers, local_size)
    env["OMP_NUM_THREADS"] = str(threads)  # for libraries that start their threads later
    torch.set_num_threads(threads)
