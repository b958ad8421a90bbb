"""The cluster environment of an MPI launch, for Lightning.

`MPIEnvironmentMixin` holds the behaviour; `for_pytorch_lightning.py` and `for_lightning.py` join it with the
`ClusterEnvironment` of each Lightning.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

import torch

from mml_distributed.abort import abort_job_on_exception
from mml_distributed.launchers import read_launch
from mml_distributed.rendezvous import check_free, rendezvous

log = logging.getLogger(__name__)


class MPIEnvironmentMixin:
    """Rank, size, local rank and node from the variables of mpirun, mpiexec, srun or PALS, without mpi4py.

    Address and port of the rendezvous are decided once, here. Under Hydra with several ranks, an uncaught
    exception of one rank ends the whole job from now on (a `sys.excepthook`).

    Parameters
    ----------
    main_address
        Host name or IP address of rank 0's node. Left out: MASTER_ADDR, else loopback where all ranks are on
        one node.
    main_port
        Its port. Left out: MASTER_PORT, else one derived from the job's identity.

    Raises
    ------
    RuntimeError
        No launcher started this process, or the rendezvous is not known; says what to set.
    ValueError
        The launcher's variables are incomplete or contradict each other.
    """

    def __init__(self, main_address: str | None = None, main_port: int | None = None) -> None:
        super().__init__()
        self.launch = read_launch()
        self._node_rank = 0 if self.launch.one_node else self.launch.node_rank
        self._main_address, self._main_port = rendezvous(self.launch, os.environ, main_address, main_port)
        self._port_is_checked = False
        abort_job_on_exception(self.launch, os.environ)

    @property
    def creates_processes_externally(self) -> bool:
        """True: the launcher started all processes, Lightning starts none."""
        return True

    @property
    def main_address(self) -> str:
        """Host name or IP address of rank 0's node."""
        return self._main_address

    @property
    def main_port(self) -> int:
        """Port of rank 0.

        Raises
        ------
        RuntimeError
            On rank 0, before the process group exists: the port is taken.
        """
        if self.launch.rank == 0 and not self._port_is_checked and not torch.distributed.is_initialized():
            check_free(self._main_port)
            self._port_is_checked = True
        return self._main_port

    @staticmethod
    def detect() -> bool:
        """Whether a launcher that we know started this process."""
        try:
            read_launch()
        except RuntimeError:
            return False
        return True

    def world_size(self) -> int:
        """Return the number of processes."""
        return self.launch.size

    def set_world_size(self, size: int) -> None:
        """Do nothing: the launcher has decided."""

    def global_rank(self) -> int:
        """Return the index of this process among all."""
        return self.launch.rank

    def set_global_rank(self, rank: int) -> None:
        """Do nothing: the launcher has decided."""

    def local_rank(self) -> int:
        """Return the index of this process among those of its node."""
        return self.launch.local_rank or 0

    def node_rank(self) -> int:
        """Return the index of this node.

        Raises
        ------
        RuntimeError
            Several nodes, under a launcher that does not number them (Open MPI, MPICH), before
            `MPIDDPStrategy` has found it out from the others, and without NODE_RANK.
        """
        if self._node_rank is not None:
            return self._node_rank
        if os.environ.get("NODE_RANK", "").isdecimal():
            return int(os.environ["NODE_RANK"])
        raise RuntimeError(
            f"{self.launch}: this launcher does not number the nodes: use strategy='ddp_with_mpi', which "
            "finds the index out, or set NODE_RANK on each node"
        )

    @property
    def needs_hosts(self) -> bool:
        """Whether the index of this node is not known yet."""
        return self._node_rank is None

    def set_hosts(self, hosts: Sequence[str]) -> None:
        """Take the index of this node from the host names of all ranks, in order of first appearance."""
        self._node_rank = list(dict.fromkeys(hosts)).index(hosts[self.launch.rank])

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        """Check the Trainer's `devices` and `num_nodes` against the launch.

        Raises
        ------
        ValueError
            They contradict; says what to pass.
        """
        launch = self.launch
        on_node = launch.local_size
        fits = num_devices * num_nodes == launch.size and self.local_rank() < num_devices
        if fits and on_node in (None, num_devices):
            return
        if on_node is None:
            remedy = (
                "pass the number of processes on each node as devices, and the number of nodes as num_nodes"
            )
        elif launch.size % on_node:
            remedy = "start the same number of processes on every node"
        else:
            remedy = f"pass devices={on_node}, num_nodes={launch.size // on_node}"
        here = "" if on_node is None else f", {on_node} of them on this node"
        raise ValueError(
            f"{launch.launcher} started {launch.size} processes{here}, but Trainer(devices={num_devices}, "
            f"num_nodes={num_nodes}) stands for {num_devices * num_nodes}: {remedy}, or start "
            f"{num_devices * num_nodes} processes, {num_devices} on each node"
        )

    def teardown(self) -> None:
        """Do nothing: there is nothing of ours to clean up."""
