"""Errors for process groups whose ranks cannot connect, with advice in terms of the launcher."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from mml_distributed.launch import Launch


@contextmanager
def connecting(launch: Launch, address: str, port: int) -> Iterator[None]:
    """Add advice to the error that torch raises if a process group cannot connect.

    Parameters
    ----------
    launch
        The launch that this process belongs to, for the message.
    address, port
        Address and port of rank 0, for the message.

    Raises
    ------
    RuntimeError
        If torch found no rank 0 at the address, or not all ranks connected to it within the timeout.
    """
    try:
        yield
    except (torch.distributed.DistNetworkError, torch.distributed.DistStoreError) as error:
        # The remaining lines are torch's own stack trace.
        reason = str(error).partition("\n")[0].strip().rstrip(".")
        raise RuntimeError(
            f"{launch}: the ranks did not connect at {address}:{port} ({reason}). Check whether another rank "
            "failed earlier. Otherwise set MASTER_ADDR on all ranks to an address of rank 0's node that "
            "every node can reach, and MASTER_PORT to a port that no firewall blocks. `mml-distributed "
            "check` tests the connection without a training."
        ) from error
