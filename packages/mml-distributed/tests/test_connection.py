from datetime import timedelta

import pytest
import torch
from mml_distributed.connection import connecting
from mml_distributed.launch import SLURM, Launch
from mml_distributed.rendezvous import free_port

LAUNCH = Launch(SLURM, "SLURM_PROCID", 1, 2, 1, 2)


@pytest.mark.parametrize("rank", [0, 1])
def test_connecting_adds_advice_to_timeout(rank):
    """torch's store waits in each rank: rank 0 for the other rank, and rank 1 for a missing rank 0."""
    port = free_port()
    with (
        pytest.raises(
            RuntimeError, match=r"SLURM_PROCID=1 of 2.* did not connect at 127.0.0.1:.*MASTER_ADDR"
        ) as error,
        connecting(LAUNCH, "127.0.0.1", port),
    ):
        torch.distributed.TCPStore("127.0.0.1", port, 2, rank == 0, timedelta(seconds=1))
    assert "frame #0" not in str(error.value), "torch's stack is in the error before it"


def test_connecting_passes_other_errors():
    with connecting(LAUNCH, "n0", 1):
        pass
    with pytest.raises(KeyError), connecting(LAUNCH, "n0", 1):
        raise KeyError
