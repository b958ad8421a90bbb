"""Hydra's key-value space, through which ranks exchange messages without an MPI library.

Hydra (MPICH, Intel MPI) gives every rank a connection to its proxy, whose file descriptor is in `PMI_FD`.
MPI_Init uses the same connection. The PMI-1 wire protocol consists of lines of the form `cmd=<name> key=value
...`, each of which is answered by one line. (The commands are those of the PMI-1 API of the MPICH project,
`src/pmi`.)
"""

from __future__ import annotations

import hashlib
import os
import select
import stat
import time
from collections.abc import Mapping

PREFIX = "mml_distributed"


class PMIError(RuntimeError):
    """Error raised if the launcher's proxy does not answer or violates the protocol."""


def has_pmi(env: Mapping[str, str]) -> bool:
    """Return whether this process has a connection to Hydra's proxy."""
    text = env.get("PMI_FD", "")
    if not text.isdecimal():
        return False
    try:
        # The number may be stale: a wrapper that started this process may have closed the connection, and the
        # descriptor may have been reused for something else.
        return stat.S_ISSOCK(os.fstat(int(text)).st_mode)
    except OSError:
        return False


class Space:
    """The key-value space of the job and the barrier of its ranks. Create one instance per process.

    The connection is not finalized, because MPI_Init and oneCCL would fail afterwards. Once the space has
    been created, Hydra treats a rank that ends without `finalize` as failed and ends the job.

    Parameters
    ----------
    env
        Environment variables, including `PMI_FD`.
    timeout
        Time limit for the other ranks in seconds.

    Raises
    ------
    PMIError
        If an answer does not arrive in time or violates the protocol, here or in any method.
    """

    def __init__(self, env: Mapping[str, str], timeout: float) -> None:
        self._connection = _Connection(int(env["PMI_FD"]), timeout)
        self._connection.ask("init pmi_version=1 pmi_subversion=1", "response_to_init")
        self._name = self._connection.ask("get_my_kvsname", "my_kvsname")["kvsname"]

    def put(self, key: str, value: str) -> None:
        """Set the value of a key. The value must not contain spaces, newlines or '='.

        Other ranks can read the value after the next barrier.
        """
        self._connection.ask(f"put kvsname={self._name} key={key} value={value}", "put_result")

    def get(self, key: str) -> str:
        """Return the value of a key."""
        return self._connection.ask(f"get kvsname={self._name} key={key}", "get_result")["value"]

    def barrier(self) -> None:
        """Wait until every rank has reached the barrier."""
        self._connection.ask("barrier_in", "barrier_out")


def broadcast(space: Space, text: str, rank: int) -> str:
    """Return the text of rank 0 on every rank. Every rank must call this function."""
    if rank == 0:
        space.put(f"{PREFIX}_rendezvous", text)
    space.barrier()
    return space.get(f"{PREFIX}_rendezvous")


def number_nodes(space: Space, host: str, rank: int, size: int) -> int:
    """Return the index of this rank's node. Every rank must call this function.

    Nodes are numbered in the order of their lowest ranks. Only rank 0 reads all host names and numbers them,
    so each other rank sends one request to set its host and one to get its node.
    """
    space.put(f"{PREFIX}_host_{rank}", host)
    space.barrier()
    if rank == 0:
        hosts = dict.fromkeys(space.get(f"{PREFIX}_host_{other}") for other in range(size))
        for index, name in enumerate(hosts):
            space.put(_node_key(name), str(index))
    space.barrier()
    return int(space.get(_node_key(host)))


def _node_key(host: str) -> str:
    # Hydra limits keys to 64 characters. A host name alone may be that long.
    return f"{PREFIX}_node_{hashlib.sha256(host.encode()).hexdigest()[:32]}"


def finalize(env: Mapping[str, str], timeout: float = 5.0) -> None:
    """Notify Hydra that this rank ends normally.

    Raises
    ------
    PMIError
        If the answer does not arrive in time or violates the protocol.
    """
    _Connection(int(env["PMI_FD"]), timeout).ask("finalize", "finalize_ack")


class _Connection:
    def __init__(self, descriptor: int, timeout: float) -> None:
        self.descriptor = descriptor
        self.timeout = timeout

    def ask(self, command: str, answer: str) -> dict[str, str]:
        """Send a command and return the fields of its answer, which must have the given name."""
        try:
            os.write(self.descriptor, f"cmd={command}\n".encode())
            line = self._read_line(command)
        except OSError as error:
            raise PMIError(
                f"The connection to the launcher (PMI_FD={self.descriptor}) failed: {error}"
            ) from error
        fields = dict(part.partition("=")[::2] for part in line.split())
        if fields.get("cmd") != answer or fields.get("rc", "0") != "0":
            raise PMIError(f"The launcher returned {line!r} for the PMI command {command!r}")
        return fields

    def _read_line(self, command: str) -> str:
        end = time.monotonic() + self.timeout
        line = b""
        while not line.endswith(b"\n"):
            if not select.select([self.descriptor], [], [], max(0.0, end - time.monotonic()))[0]:
                raise PMIError(
                    f"The launcher did not answer the PMI command {command.split()[0]!r} within "
                    f"{self.timeout:g} s, because some ranks have not reached this point. Check the output "
                    "of the other ranks, or pass MPIEnvironment(timeout=...)."
                )
            # Read one byte at a time: bytes after the line belong to the next reader of the connection.
            byte = os.read(self.descriptor, 1)
            if not byte:
                raise PMIError(f"The launcher closed the connection (PMI_FD={self.descriptor})")
            line += byte
        return line.decode(errors="replace").strip()
