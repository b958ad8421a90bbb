"""Access to the MPI library through mpi4py.

MPI is used if the program has already initialized it, or if the ranks have no other means to communicate.
Initializing MPI has a cost: when the process exits, MPI waits for all other ranks (see `abort.py`).
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

from mml_distributed.launch import Launch


def initialized() -> Any | None:
    """Return `mpi4py.MPI` if this process has imported it and MPI is running, and None otherwise."""
    mpi = sys.modules.get("mpi4py.MPI")
    return mpi if mpi is not None and mpi.Is_initialized() and not mpi.Is_finalized() else None


def was_initialized() -> bool:
    """Return whether MPI is running in this process or has run.

    If so, MPI closes the connection to the launcher itself.
    """
    mpi = sys.modules.get("mpi4py.MPI")
    return mpi is not None and bool(mpi.Is_initialized())


def initialize() -> Any | None:
    """Import `mpi4py.MPI`, which initializes MPI. Return None if mpi4py or an MPI library is missing."""
    try:
        importlib.import_module("mpi4py.MPI")
    except (ImportError, RuntimeError):  # mpi4py is missing, or finds no MPI library
        return None
    return initialized()


def check_agrees(mpi: Any, launch: Launch) -> None:
    """Check that MPI has the same rank and size as the launcher.

    Raises
    ------
    RuntimeError
        If the rank or the size differs. In that case mpi4py has loaded another MPI library, in which every
        process is alone.
    """
    world = mpi.COMM_WORLD
    if (world.Get_rank(), world.Get_size()) == (launch.rank, launch.size):
        return
    library = mpi.Get_library_version().strip().partition("\n")[0].strip("\0 ")
    raise RuntimeError(
        f"{launch}, but mpi4py reports rank {world.Get_rank()} of {world.Get_size()}. It loaded an MPI "
        f"library ({library}) that is not the launcher's, so each process would train alone. Start the "
        "program with the mpirun of that library, let mpi4py load the launcher's library (set MPI4PY_LIBMPI "
        "to its libmpi.so, or run pip install --no-binary=mpi4py --force-reinstall mpi4py), or uninstall "
        "mpi4py, which is not required."
    )


def broadcast(mpi: Any, text: str) -> str:
    """Return the text of rank 0 on every rank. Every rank must call this function."""
    return str(mpi.COMM_WORLD.bcast(text, root=0))


def number_nodes(mpi: Any, host: str, rank: int) -> int:
    """Return the index of this rank's node. Every rank must call this function.

    Nodes are numbered in the order of their lowest ranks.
    """
    hosts = mpi.COMM_WORLD.allgather(host)
    return list(dict.fromkeys(hosts)).index(hosts[rank])
