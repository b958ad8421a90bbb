"""The key-value space of Hydra, through which ranks tell each other something without any MPI library.

Hydra (MPICH, Intel MPI) hands every rank a connection to its proxy, the descriptor `PMI_FD`. The PMI-1 wire
protocol on it is lines of `cmd=<name> key=value ...` that are answered one by one; it is what MPI_Init
speaks, too. (Its commands are those of the PMI-1 API of the MPICH project, `src/pmi`.)
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
    """The launcher's proxy did not answer, or not as the protocol says."""


def has_pmi(env: Mapping[str, str]) -> bool:
    """Whether this process has a connection to Hydra's proxy."""
    text = env.get("PMI_FD", "")
    if not text.isdecimal():
        return False
    try:
        # The number may be left over: closed by a wrapper that started us, and taken by something else.
        return stat.S_ISSOCK(os.fstat(int(text)).st_mode)
    except OSError:
        return False


class Space:
    """The key-value space of the job, and the barrier of its ranks; one a process.

    The connection is not finalized: MPI_Init and oneCCL would fail after that. From here on Hydra takes a
    rank that ends without `finalize` for failed, and ends the job.

    Parameters
    ----------
    env
        The environment, with `PMI_FD`.
    timeout
        Seconds to wait for the other ranks.

    Raises
    ------
    PMIError
        Here and later: no answer in time, or one that the protocol does not have.
    """

    def __init__(self, env: Mapping[str, str], timeout: float) -> None:
        self._connection = _Connection(int(env["PMI_FD"]), timeout)
        self._connection.ask("init pmi_version=1 pmi_subversion=1", "response_to_init")
        self._name = self._connection.ask("get_my_kvsname", "my_kvsname")["kvsname"]

    def put(self, key: str, value: str) -> None:
        """Give a key a value without spaces, newlines and '='; others can get it after the next barrier."""
        self._connection.ask(f"put kvsname={self._name} key={key} value={value}", "put_result")

    def get(self, key: str) -> str:
        """Return the value of a key."""
        return self._connection.ask(f"get kvsname={self._name} key={key}", "get_result")["value"]

    def barrier(self) -> None:
        """Wait until every rank has come here."""
        self._connection.ask("barrier_in", "barrier_out")


def broadcast(space: Space, text: str, rank: int) -> str:
    """Give every rank the text of rank 0; every rank must call it."""
    if rank == 0:
        space.put(f"{PREFIX}_rendezvous", text)
    space.barrier()
    return space.get(f"{PREFIX}_rendezvous")


def number_nodes(space: Space, host: str, rank: int, size: int) -> int:
    """Return the index of this rank's node, by the first rank on it; every rank must call it.

    Rank 0 asks for all hosts and numbers them, so that the others need not: two questions a rank.
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
    # Hydra limits keys to 64 characters, which a host name may have by itself.
    return f"{PREFIX}_node_{hashlib.sha256(host.encode()).hexdigest()[:32]}"


def finalize(env: Mapping[str, str], timeout: float = 5.0) -> None:
    """Tell Hydra that this rank ends as it should.

    Raises
    ------
    PMIError
        No answer in time, or one that the protocol does not have.
    """
    _Connection(int(env["PMI_FD"]), timeout).ask("finalize", "finalize_ack")


class _Connection:
    def __init__(self, descriptor: int, timeout: float) -> None:
        self.descriptor = descriptor
        self.timeout = timeout

    def ask(self, command: str, answer: str) -> dict[str, str]:
        """Send a command and return the fields of its answer, which must be of the given name."""
        try:
            os.write(self.descriptor, f"cmd={command}\n".encode())
            line = self._read_line(command)
        except OSError as error:
            raise PMIError(f"the launcher's connection (PMI_FD={self.descriptor}) failed: {error}") from error
        fields = dict(part.partition("=")[::2] for part in line.split())
        if fields.get("cmd") != answer or fields.get("rc", "0") != "0":
            raise PMIError(f"the launcher answered {line!r} to PMI command {command!r}")
        return fields

    def _read_line(self, command: str) -> str:
        end = time.monotonic() + self.timeout
        line = b""
        while not line.endswith(b"\n"):
            if not select.select([self.descriptor], [], [], max(0.0, end - time.monotonic()))[0]:
                raise PMIError(
                    f"no answer to PMI command {command.split()[0]!r} within {self.timeout:g} s: not every "
                    "rank has come so far; see what those that are missing say, or pass "
                    "MPIEnvironment(timeout=...)"
                )
            # One byte at a time: what follows the line belongs to whoever asks next.
            byte = os.read(self.descriptor, 1)
            if not byte:
                raise PMIError(f"the launcher has closed its connection (PMI_FD={self.descriptor})")
            line += byte
        return line.decode(errors="replace").strip()
