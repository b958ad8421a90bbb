"""The MPI library, through mpi4py: for programs that have initialised it, and where nothing else helps.

Initialising MPI has a price: its end at the exit of the process waits for all other ranks (see `abort.py`).
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

from mml_distributed.launch import Launch


def initialised() -> Any | None:
    """Return `mpi4py.MPI` where this process has imported it and MPI is running, else None."""
    mpi = sys.modules.get("mpi4py.MPI")
    return mpi if mpi is not None and mpi.Is_initialized() and not mpi.Is_finalized() else None


def was_initialised() -> bool:
    """Whether MPI is running in this process or has run; then it ends the launcher's connection itself."""
    mpi = sys.modules.get("mpi4py.MPI")
    return mpi is not None and bool(mpi.Is_initialized())


def initialise() -> Any | None:
    """Import `mpi4py.MPI`, which starts MPI; None where mpi4py or an MPI library is missing."""
    try:
        importlib.import_module("mpi4py.MPI")
    except (ImportError, RuntimeError):  # no mpi4py; or one that finds no MPI library
        return None
    return initialised()


def check_agrees(mpi: Any, launch: Launch) -> None:
    """Check that MPI has the ranks of the launcher.

    Raises
    ------
    RuntimeError
        It has others: mpi4py loaded the library of another MPI, in which every process is alone.
    """
    world = mpi.COMM_WORLD
    if (world.Get_rank(), world.Get_size()) == (launch.rank, launch.size):
        return
    library = mpi.Get_library_version().strip().partition("\n")[0].strip("\0 ")
    raise RuntimeError(
        f"{launch}, but mpi4py says rank {world.Get_rank()} of {world.Get_size()}: it loaded another MPI "
        f"({library}) than the launcher's, and each process would train alone; start the program with that "
        "MPI's mpirun, let mpi4py load the launcher's library (set MPI4PY_LIBMPI to its libmpi.so, or build "
        "it anew: pip install --no-binary=mpi4py --force-reinstall mpi4py), or uninstall mpi4py: nothing "
        "here needs it"
    )


def broadcast(mpi: Any, text: str) -> str:
    """Give every rank the text of rank 0; every rank must call it."""
    return str(mpi.COMM_WORLD.bcast(text, root=0))


def number_nodes(mpi: Any, host: str, rank: int) -> int:
    """Return the index of this rank's node, by the first rank on it; every rank must call it."""
    hosts = mpi.COMM_WORLD.allgather(host)
    return list(dict.fromkeys(hosts)).index(hosts[rank])
