"""The rendezvous of the ranks: the address and port of rank 0, which are the same on every rank."""

from __future__ import annotations

import errno
import hashlib
import random
import re
import socket
from collections.abc import Mapping, Sequence
from datetime import timedelta
from ipaddress import ip_address
from typing import NamedTuple

from mml_distributed import mpi, pmi
from mml_distributed.abort import on_success
from mml_distributed.ancestry import Process, ancestors
from mml_distributed.launch import HYDRA, Launch
from mml_distributed.launchers import MAKERS

DEFAULT_TIMEOUT = timedelta(minutes=30)
LOOPBACK = "127.0.0.1"
PORTS = range(15000, 32768)
"""Range of the ports that are chosen here. It ends below Linux's range for outgoing connections."""


class Told(NamedTuple):
    """Data received from the other ranks: host name and free port of rank 0, and index of this node."""

    host: str
    port: int
    node_rank: int | None


_told: Told | None = None
"""Result of the exchange, which happens once per process even if a program creates several environments."""


def node_rank_told() -> int | None:
    """Return this node's index if the ranks have exchanged it because the launcher does not report it."""
    return None if _told is None else _told.node_rank


def rendezvous(
    launch: Launch,
    env: Mapping[str, str],
    main_address: str | None = None,
    main_port: int | None = None,
    timeout: timedelta = DEFAULT_TIMEOUT,
) -> tuple[str, int]:
    """Determine the address and port of rank 0.

    The arguments take precedence over MASTER_ADDR and MASTER_PORT. Rank 0 sends missing values to the other
    ranks: through MPI if the program has initialized it, or through Hydra's key-value space. If the ranks
    cannot communicate, the address is the loopback address on one node, or the first node of the launcher's
    list on several nodes (Slurm, PALS), and the port is derived from the job's identity. If that is not
    sufficient, MPI is initialized for the exchange.

    Parameters
    ----------
    launch
        The launch that this process belongs to.
    env
        Environment variables.
    main_address
        Host name or IP address of rank 0's node, or None.
    main_port
        Port of rank 0, or None.
    timeout
        Time limit for the exchange through Hydra.

    Returns
    -------
    tuple of str and int
        Address and port of rank 0.

    Raises
    ------
    ValueError
        If a port is invalid.
    RuntimeError
        If the job has several nodes and the address is unknown, the job has no identity from which to derive
        the port, mpi4py uses another MPI than the launcher, or a rank does not connect within the timeout.
    """
    running = mpi.initialized()
    if running is not None:
        mpi.check_agrees(running, launch)
    address = main_address or env.get("MASTER_ADDR") or (LOOPBACK if launch.one_node else None)
    port = None
    if main_port is not None:
        port = _port(main_port, "main_port")
    elif env.get("MASTER_PORT"):
        port = _port(env["MASTER_PORT"], "MASTER_PORT")
    if address is not None and port is None and launch.size == 1:
        port = free_port() if launch.job is None else derive_port(launch.job)
    if address is None or port is None:
        unknown = (address is None and launch.first_host is None) or (port is None and launch.job is None)
        told = _ask_rank_zero(launch, env, timeout, start_mpi=unknown and not launch.one_node)
        if told is not None:
            return address or told.host, port or told.port
        address = address or _first_host(launch)
    if address is None:
        raise RuntimeError(
            f"{launch}: the processes may be on several nodes, and the node of rank 0 is unknown. Set "
            "MASTER_ADDR on all ranks to the host name or IP address of its node (mpirun -genv MASTER_ADDR "
            "node0 with MPICH and Intel MPI, mpirun -x MASTER_ADDR=node0 with Open MPI, export "
            "MASTER_ADDR=node0 before srun), install mpi4py and the launcher's MPI, or pass "
            "MPIEnvironment(main_address='node0')."
        )
    if port is None:
        job = launch.job or (job_from_ancestors(ancestors()) if launch.one_node else None)
        if job is None:
            raise RuntimeError(
                f"{launch}: no port can be derived, because the launcher does not set a job identifier that "
                "all ranks share. Set MASTER_PORT on all ranks to a free port of rank 0's node, or pass "
                "MPIEnvironment(main_port=...)."
            )
        port = derive_port(job)
    return address, port


def _first_host(launch: Launch) -> str | None:
    """Return the host of rank 0 according to the launcher. On rank 0, check that it is this host."""
    if launch.rank == 0 and None not in (launch.host, launch.first_host) and launch.host != launch.first_host:
        raise RuntimeError(
            f"{launch}: rank 0 is on node {launch.host!r}, but the launcher's list of nodes begins with "
            f"{launch.first_host!r}. Set MASTER_ADDR={launch.host} on all ranks, before the launcher starts."
        )
    return launch.first_host


def _ask_rank_zero(
    launch: Launch, env: Mapping[str, str], timeout: timedelta, *, start_mpi: bool
) -> Told | None:
    """Exchange the address of rank 0 and the node indices. Return None if the ranks cannot communicate."""
    global _told
    if _told is None:
        here = launch.host or socket.gethostname()
        mine = f"{here}:{free_port()}" if launch.rank == 0 else ""
        unnumbered = launch.node_rank is None and not launch.one_node
        running, node_rank = mpi.initialized(), None
        if running is None and launch.launcher == HYDRA and pmi.has_pmi(env):
            space = pmi.Space(env, timeout.total_seconds())
            on_success(lambda: None if mpi.was_initialized() else pmi.finalize(env))
            text = pmi.broadcast(space, mine, launch.rank)
            if unnumbered:
                node_rank = pmi.number_nodes(space, here, launch.rank, launch.size)
        else:
            if running is None and start_mpi:
                running = mpi.initialize()
            if running is None:
                return None
            mpi.check_agrees(running, launch)
            text = mpi.broadcast(running, mine)
            if unnumbered:
                node_rank = mpi.number_nodes(running, here, launch.rank)
        host, _, port = text.rpartition(":")
        _told = Told(host, int(port), node_rank)
    return _told


def free_port() -> int:
    """Return a port in 15000 to 32767 that is currently free on this node."""
    ports = random.SystemRandom().sample(PORTS, 100)
    for port in ports:
        try:
            check_free(port)
        except RuntimeError:
            continue
        return port
    raise RuntimeError(
        f"None of {len(ports)} tested ports from {PORTS.start} to {PORTS.stop - 1} is free on this node. Set "
        "MASTER_PORT on all ranks to a free port."
    )


def check_reachable(launch: Launch, address: str) -> None:
    """Check that this node can resolve the address of rank 0, before the process group starts.

    Raises
    ------
    RuntimeError
        If the address does not resolve, or if it is a loopback address and this is not rank 0's node.
    """
    try:
        found = {item[4][0] for item in socket.getaddrinfo(address, None)}
    except OSError as error:
        raise RuntimeError(
            f"{launch}: the address of rank 0, {address!r}, cannot be resolved on {socket.gethostname()} "
            f"({error}). Set MASTER_ADDR on all ranks to a host name or IP address that every node resolves."
        ) from error
    if not launch.one_node and launch.node_rank not in (None, 0) and all(map(_is_loopback, found)):
        raise RuntimeError(
            f"{launch}: the address of rank 0, {address!r}, is {', '.join(sorted(map(str, found)))} on "
            f"{socket.gethostname()}, which is the node itself. Set MASTER_ADDR on all ranks to the IP "
            "address of rank 0's node."
        )


def check_gloo_interface(launch: Launch, env: Mapping[str, str]) -> None:
    """Check that other nodes can reach the address at which gloo would listen.

    gloo listens at the address of the node's host name, or at the loopback address if the host name has no
    address. If the address is a loopback address, such as Debian's 127.0.1.1 in /etc/hosts, gloo waits
    forever.

    Raises
    ------
    RuntimeError
        If the job has several nodes, the host name resolves only to loopback addresses or not at all, and
        GLOO_SOCKET_IFNAME is not set.
    """
    if launch.one_node or env.get("GLOO_SOCKET_IFNAME"):
        return
    name = socket.gethostname()
    try:
        found = {str(item[4][0]) for item in socket.getaddrinfo(name, None)}
    except OSError:
        found = set()
    if all(map(_is_loopback, found)):
        others = ", ".join(name for _, name in socket.if_nameindex() if not name.startswith("lo")) or "none"
        raise RuntimeError(
            f"{launch}: the host name {name!r} of this node resolves to "
            f"{', '.join(sorted(found)) or 'no address'} on the node itself, so gloo would wait for other "
            "nodes forever. Set GLOO_SOCKET_IFNAME on all ranks to the network interface that the nodes "
            f"share (available on this node: {others}), or correct /etc/hosts."
        )


def _is_loopback(address: str | int) -> bool:
    return ip_address(str(address).partition("%")[0]).is_loopback


def derive_port(job: str) -> int:
    """Return a port in 15000 to 32767 that is the same on every rank and different for most other jobs."""
    digest = hashlib.sha256(job.encode()).digest()
    return PORTS[int.from_bytes(digest[:8], "big") % len(PORTS)]


def job_from_ancestors(processes: Sequence[Process]) -> str | None:
    """Return an identity of the job: the launcher's process on this node, an ancestor of all its ranks.

    Use this function only for jobs on one node. It returns None if no ancestor is a known launcher.
    """
    launcher = next((process for process in processes if process.name in MAKERS), None)
    return None if launcher is None else f"{launcher.name}:{launcher.pid}:{launcher.start}"


def check_free(port: int) -> None:
    """Check on rank 0 that its port is available.

    Raises
    ------
    RuntimeError
        If another program listens at the port, or if this process may not use the port.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # With this option, recently closed connections do not block the port, but a listener still does.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            reason = (
                "is used by another program"
                if error.errno == errno.EADDRINUSE
                else f"cannot be used ({error})"
            )
            raise RuntimeError(
                f"Port {port} of rank 0's node {reason}. Set MASTER_PORT to a free port on all ranks, for "
                "example with `export MASTER_PORT=29500` before mpirun."
            ) from error


def _port(value: str | int, name: str) -> int:
    if not re.fullmatch(r"[0-9]+", str(value)) or not 0 < int(value) < 65536:
        raise ValueError(f"{name} must be a port from 1 to 65535, got {value!r}")
    return int(value)
