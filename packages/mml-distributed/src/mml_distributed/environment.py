"""The cluster environment of an MPI launch, for Lightning.

`MPIEnvironmentMixin` holds the behaviour; `for_pytorch_lightning.py` and `for_lightning.py` join it with the
`ClusterEnvironment` of each Lightning.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from datetime import timedelta

import torch

from mml_distributed import mpi
from mml_distributed.abort import abort_job_on_failure
from mml_distributed.launch import refuse_relaunch
from mml_distributed.launchers import read_launch
from mml_distributed.rendezvous import DEFAULT_TIMEOUT, check_free, node_rank_told, rendezvous
from mml_distributed.threads import set_thread_count

log = logging.getLogger(__name__)


class MPIEnvironmentMixin:
    """Rank, size, local rank and node from the variables of mpirun, mpiexec, srun or PALS, without mpi4py.

    Address and port of the rendezvous are decided once, here; every rank must make one. From now on a rank
    that fails ends the whole job (through `sys.excepthook` and `sys.exit`), and OMP_NUM_THREADS is this
    rank's share of the node's cores, unless it is set.

    Parameters
    ----------
    main_address
        Host name or IP address of rank 0's node. Left out: MASTER_ADDR, else loopback where all ranks are on
        one node, else rank 0's host name as the launcher knows it.
    main_port
        Its port. Left out: MASTER_PORT, else a free one that rank 0 tells the others, else one derived from
        the job's identity.
    timeout
        How long to wait for the other ranks here.

    Raises
    ------
    RuntimeError
        No launcher started this process, or the rendezvous is not known; says what to set.
    ValueError
        The launcher's variables are incomplete or contradict each other, or this process was started by
        another program than the launcher.
    """

    def __init__(
        self,
        main_address: str | None = None,
        main_port: int | None = None,
        timeout: timedelta = DEFAULT_TIMEOUT,
    ) -> None:
        super().__init__()
        self.launch = read_launch()
        refuse_relaunch(self.launch, os.environ)
        abort_job_on_failure(self.launch, os.environ)
        set_thread_count(os.environ, self.launch.local_size)
        self._main_address, self._main_port = rendezvous(
            self.launch, os.environ, main_address, main_port, timeout
        )
        self._node_rank = 0 if self.launch.one_node else self.launch.node_rank
        if self._node_rank is None:
            self._node_rank = node_rank_told()
        self._port_is_checked = False

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

        Every strategy asks for it right before it starts the process group: the last moment to find that it
        cannot.

        Raises
        ------
        RuntimeError
            Before the process group exists: mpi4py, if it is in use, has other ranks than the launcher; or,
            on rank 0, the port is taken.
        """
        if not torch.distributed.is_initialized():
            # Again, and not only when the environment is made: programs import mpi4py in between.
            if (running := mpi.initialised()) is not None:
                mpi.check_agrees(running, self.launch)
            if self.launch.rank == 0 and not self._port_is_checked:
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
            Several nodes, under a launcher that does not number them (Open MPI, MPICH), where the ranks have
            not spoken to each other for want of an address or port, before `MPIDDPStrategy` has found it
            out, and without NODE_RANK.
        """
        if self._node_rank is not None:
            return self._node_rank
        if os.environ.get("NODE_RANK", "").isdecimal():
            return int(os.environ["NODE_RANK"])
        raise RuntimeError(
            f"{self.launch}: neither this launcher nor the other ranks have said which node this is: use "
            "strategy='ddp_with_mpi', which finds it out; leave MASTER_ADDR and MASTER_PORT out, so that the "
            "ranks speak to each other; or set NODE_RANK on each node"
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
            remedy = (
                f"pass devices={on_node}, num_nodes={launch.size // on_node} "
                "(or **mml_distributed.read_launch().trainer_arguments())"
            )
        here = "" if on_node is None else f", {on_node} of them on this node"
        raise ValueError(
            f"{launch.launcher} started {launch.size} processes{here}, but Trainer(devices={num_devices}, "
            f"num_nodes={num_nodes}) stands for {num_devices * num_nodes}: {remedy}, or start "
            f"{num_devices * num_nodes} processes, {num_devices} on each node"
        )

    def teardown(self) -> None:
        """Do nothing: there is nothing of ours to clean up."""
