"""Where the ranks meet: address and port of rank 0, the same on every rank without a word between them."""

from __future__ import annotations

import errno
import hashlib
import re
import socket
from collections.abc import Mapping, Sequence

from mml_distributed.ancestry import Process, ancestors
from mml_distributed.launch import Launch
from mml_distributed.launchers import MAKERS

LOOPBACK = "127.0.0.1"
PORTS = range(15000, 32768)
"""Derived ports are below the range from which Linux takes those of outgoing connections."""


def rendezvous(
    launch: Launch, env: Mapping[str, str], main_address: str | None = None, main_port: int | None = None
) -> tuple[str, int]:
    """Decide address and port: arguments, else MASTER_ADDR and MASTER_PORT, else loopback and derived.

    Raises
    ------
    ValueError
        A port that is none.
    RuntimeError
        Several nodes without an address, or a job without an identity of its own to derive the port from.
    """
    address = main_address or env.get("MASTER_ADDR")
    if not address:
        if not launch.one_node:
            raise RuntimeError(
                f"{launch}: the processes are on several nodes (or the launcher does not say that they are "
                "not), and where rank 0 runs is not known: set MASTER_ADDR to the host name or IP address of "
                "its node on all ranks (mpirun -genv MASTER_ADDR node0 with MPICH and Intel MPI, mpirun -x "
                "MASTER_ADDR=node0 with Open MPI, export MASTER_ADDR=node0 before srun), or pass "
                "MPIEnvironment(main_address='node0')"
            )
        address = LOOPBACK
    if main_port is not None:
        return address, _port(main_port, "main_port")
    if env.get("MASTER_PORT"):
        return address, _port(env["MASTER_PORT"], "MASTER_PORT")
    job = launch.job or (job_from_ancestors(ancestors()) if launch.one_node else None)
    if job is None:
        raise RuntimeError(
            f"{launch}: the launcher gives no identity of the job that all ranks share, and so no port: set "
            "MASTER_PORT to a free port of rank 0's node on all ranks, or pass MPIEnvironment(main_port=...)"
        )
    return address, derive_port(job)


def derive_port(job: str) -> int:
    """Return the port of a job, in 15000 to 32767: the same on every rank, unlike that of most other jobs."""
    digest = hashlib.sha256(job.encode()).digest()
    return PORTS[int.from_bytes(digest[:8], "big") % len(PORTS)]


def job_from_ancestors(processes: Sequence[Process]) -> str | None:
    """Return an identity of the job: the launcher's process on this node, ancestor of all its ranks.

    Only for jobs on one node. None where no ancestor is known as a launcher.
    """
    launcher = next((process for process in processes if process.name in MAKERS), None)
    return None if launcher is None else f"{launcher.name}:{launcher.pid}:{launcher.start}"


def check_free(port: int) -> None:
    """Check on rank 0 that its port can be had.

    Raises
    ------
    RuntimeError
        Another program listens there, or it is not for us.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # With it, connections that closed a moment ago do not count as taken; a listener still does.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            reason = (
                "is taken by another program"
                if error.errno == errno.EADDRINUSE
                else f"cannot be used ({error})"
            )
            raise RuntimeError(
                f"port {port} of rank 0's node {reason}: set MASTER_PORT to a free port on all ranks, as in "
                "`export MASTER_PORT=29500` before mpirun"
            ) from error


def _port(value: str | int, name: str) -> int:
    if not re.fullmatch(r"[0-9]+", str(value)) or not 0 < int(value) < 65536:
        raise ValueError(f"{name}={value!r} is not a port: pass an integer from 1 to 65535")
    return int(value)
