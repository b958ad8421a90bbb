"""Limit the number of threads of a rank to the cores that are assigned to it."""

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
        Cores that the rank may use.
    launchers
        Cores that the launcher's process on this node may use.
    local_size
        Number of ranks on the node.

    Returns
    -------
    int
        The number of the rank's cores if it is pinned to a proper subset of its launcher's cores, and its
        share of them (at least 1) otherwise.
    """
    return len(mine) if mine < launchers else max(1, len(mine) // local_size)


def set_thread_count(env: MutableMapping[str, str], local_size: int | None) -> None:
    """Set torch's thread count and OMP_NUM_THREADS for this rank, unless OMP_NUM_THREADS is already set.

    Nothing changes if the number of ranks on the node or the available cores are unknown (macOS).
    """
    if env.get("OMP_NUM_THREADS") or not local_size or not hasattr(os, "sched_getaffinity"):
        return
    mine = os.sched_getaffinity(0)
    launcher = next((process.pid for process in ancestors() if process.name in MAKERS), os.getppid())
    try:
        launchers = os.sched_getaffinity(launcher)
    except OSError:  # this process may not query the launcher
        launchers = mine
    threads = thread_count(mine, launchers, local_size)
    env["OMP_NUM_THREADS"] = str(threads)  # for libraries that start their threads later
    torch.set_num_threads(threads)
