"""Read the file in which PALS describes a job on each node: the number of ranks and the node of each rank.

The variable `PALS_APINFO` contains the path of the file. PALS writes the file, and so does Slurm with
`--mpi=cray_shasta`. The file is needed if PALS leaves PMI to PMIx (`mpiexec --pmi=pmix`), because then no
variable contains the number of ranks.

Format: the structures of HPE's `pals.h` (`pals_header_t`, `pals_pe_t`, `pals_node_t`) in the memory layout
that C uses on the machine. The header contains the length of a record, so later versions may use longer
records.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

logger = logging.getLogger(__name__)

HEADER = struct.Struct("@iNNNiNNiNNiNNi")
"""Version, sizes and offsets up to the number of nodes. All versions of the format start with them."""
PROCESS = struct.Struct("@iii")
"""Local rank, index of the command, index of the node."""
NODE = struct.Struct("@i64s")
"""Number of the node in the system, host name."""


class Application(NamedTuple):
    """The placement of a job: the local rank and node index of each rank, and the host name of each node."""

    local_ranks: tuple[int, ...]
    nodes: tuple[int, ...]
    hosts: tuple[str, ...]

    def host(self, rank: int) -> str:
        """Return the host name of a rank's node."""
        return self.hosts[self.nodes[rank]]


def read_application(env: Mapping[str, str]) -> Application | None:
    """Return the contents of the file at `PALS_APINFO`.

    Returns
    -------
    Application or None
        None if the file does not exist or cannot be parsed, or if its entry for this rank contradicts the
        PALS variables. The file then has another format, and callers must do without it.
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
        logger.warning("The file PALS_APINFO=%s cannot be read and is ignored: %r", path, error)
        return None
    if place != expected:
        logger.warning(
            "The file PALS_APINFO=%s is ignored, because its (local rank, node) is %s, and that of the "
            "environment variables is %s",
            *(path, place, expected),
        )
        return None
    return application


def parse(data: bytes) -> Application:
    """Parse the bytes of a PALS application file.

    Raises
    ------
    struct.error, ValueError, IndexError
        If the bytes do not have the format of a PALS application file.
    """
    header = HEADER.unpack_from(data)
    pe_size, pe_offset, pe_count, node_size, node_offset, node_count = header[8:]
    if pe_size < PROCESS.size or node_size < NODE.size or pe_count < 1 or node_count < 1:
        raise ValueError(
            f"unknown format: {pe_count} processes of {pe_size} bytes, "
            f"{node_count} nodes of {node_size} bytes"
        )
    processes = [PROCESS.unpack_from(data, pe_offset + index * pe_size) for index in range(pe_count)]
    names = [NODE.unpack_from(data, node_offset + index * node_size)[1] for index in range(node_count)]
    hosts = tuple(name.split(b"\0")[0].decode("ascii") for name in names)
    local_ranks, _, nodes = zip(*processes, strict=True)
    if not all(hosts) or not all(0 <= node < node_count for node in nodes):
        raise ValueError("unknown format: a node has no name, or a process is on an unknown node")
    return Application(local_ranks, nodes, hosts)
