"""The error of a process group whose ranks do not find each other, in the terms of who started the job."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from mml_distributed.launch import Launch


@contextmanager
def connecting(launch: Launch, address: str, port: int) -> Iterator[None]:
    """Say what to do where torch, starting a process group, says that a connection failed.

    Raises
    ------
    RuntimeError
        torch found no rank 0 at the address, or not all ranks came to it within the timeout.
    """
    try:
        yield
    except (torch.distributed.DistNetworkError, torch.distributed.DistStoreError) as error:
        # The rest is torch's own stack.
        reason = str(error).partition("\n")[0].strip().rstrip(".")
        raise RuntimeError(
            f"{launch}: the ranks have not met at {address}:{port} ({reason}): see whether another rank has "
            "failed before; else set MASTER_ADDR on all ranks to an address of rank 0's node that every node "
            "reaches, and MASTER_PORT to a port that no firewall closes; `mml-distributed check` tries it "
            "without training"
        ) from error
