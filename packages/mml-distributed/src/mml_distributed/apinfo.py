"""What PALS writes about a job into a file on every node: how many ranks there are, and where each one is.

`PALS_APINFO` names the file; PALS writes it, and Slurm does with `--mpi=cray_shasta`. It is needed where PALS
leaves PMI to PMIx (`mpiexec --pmi=pmix`): no variable holds the number of ranks then.

Format: the structures of HPE's `pals.h` (`pals_header_t`, `pals_pe_t`, `pals_node_t`), as C lays them out on
the machine itself. The header says how long a record is, so later versions may have longer ones.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

log = logging.getLogger(__name__)

HEADER = struct.Struct("@iNNNiNNiNNiNNi")
"""Version, sizes and offsets up to the number of nodes: what all versions begin with."""
PROCESS = struct.Struct("@iii")
"""Local rank, index of the command, index of the node."""
NODE = struct.Struct("@i64s")
"""Number of the node in the system, host name."""


class Application(NamedTuple):
    """A job: for each rank its local rank and node, for each node its host name."""

    local_ranks: tuple[int, ...]
    nodes: tuple[int, ...]
    hosts: tuple[str, ...]

    def host(self, rank: int) -> str:
        """Return the host name of a rank's node."""
        return self.hosts[self.nodes[rank]]


def read_application(env: Mapping[str, str]) -> Application | None:
    """Return what the file of `PALS_APINFO` says.

    None where there is no such file, and where it does not say of this rank what the variables say: it is of
    another format then, and whoever needs it has to do without.
    """
    path = env.get("PALS_APINFO")
    if not path:
        return None
    try:
        application = parse(Path(path).read_bytes())
        rank = int(env["PALS_RANKID"])
        place = application.local_ranks[rank], application.nodes[rank]
        expected = int(env["PALS_LOCAL_RANKID"]), int(env["PALS_NODEID"])
    except (OSError, ValueError, LookupError, struct.error) as error:
        log.warning("PALS_APINFO=%s cannot be read and is left out: %r", path, error)
        return None
    if place != expected:
        log.warning("PALS_APINFO=%s says (local rank, node) %s, the variables %s", path, place, expected)
        return None
    return application


def parse(data: bytes) -> Application:
    """Return what the bytes of the file say.

    Raises
    ------
    struct.error, ValueError, IndexError
        They are no such file.
    """
    header = HEADER.unpack_from(data)
    pe_size, pe_offset, pe_count, node_size, node_offset, node_count = header[8:]
    if pe_size < PROCESS.size or node_size < NODE.size or pe_count < 1 or node_count < 1:
        raise ValueError(
            f"{pe_count} processes of {pe_size} bytes on {node_count} nodes of {node_size} bytes"
        )
    processes = [PROCESS.unpack_from(data, pe_offset + index * pe_size) for index in range(pe_count)]
    names = [NODE.unpack_from(data, node_offset + index * node_size)[1] for index in range(node_count)]
    hosts = tuple(name.split(b"\0")[0].decode("ascii") for name in names)
    local_ranks, _, nodes = zip(*processes, strict=True)
    if not all(hosts) or not all(0 <= node < node_count for node in nodes):
        raise ValueError("a node without a name, or a process on a node that there is not")
    return Application(local_ranks, nodes, hosts)
