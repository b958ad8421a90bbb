"""The Lightning cluster environment of an MPI launch.

`MPIEnvironmentMixin` implements the behavior. `for_pytorch_lightning.py` and `for_lightning.py` combine it
with the `ClusterEnvironment` class of each Lightning package.
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

logger = logging.getLogger(__name__)


class MPIEnvironmentMixin:
    """Cluster environment that reads the variables of mpirun, mpiexec, srun or PALS and does not need mpi4py.

    The constructor determines the rank, size, local rank and node of this process, and the address and port
    of the rendezvous. Every rank must create an environment. Creating one has two side effects. A rank that
    fails ends the whole job from then on (through `sys.excepthook` and `sys.exit`). OMP_NUM_THREADS is set to
    this rank's share of the node's cores, unless it is already set.

    Parameters
    ----------
    main_address
        Host name or IP address of rank 0's node. Default: MASTER_ADDR if it is set, the loopback address if
        all ranks are on one node, and otherwise the launcher's host name of rank 0.
    main_port
        Port of rank 0. Default: MASTER_PORT if it is set, otherwise a free port that rank 0 sends to the
        other ranks, otherwise a port derived from the job's identity.
    timeout
        Time limit for the other ranks to connect during construction.

    Raises
    ------
    RuntimeError
        If no launcher started this process, or the rendezvous cannot be determined. The message names the
        variables to set.
    ValueError
        If the launcher's variables are incomplete or contradict each other, or if a program other than the
        launcher started this process.
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
        """Always True, because the launcher has started all processes and Lightning must not start any."""
        return True

    @property
    def main_address(self) -> str:
        """Host name or IP address of rank 0's node."""
        return self._main_address

    @property
    def main_port(self) -> int:
        """Port of rank 0.

        Every strategy reads this property right before it starts the process group. It is therefore the last
        opportunity to detect that the group cannot start.

        Raises
        ------
        RuntimeError
            If the process group does not exist yet, and either mpi4py is in use and disagrees with the
            launcher about the ranks, or this is rank 0 and the port is taken.
        """
        if not torch.distributed.is_initialized():
            # The constructor has checked this as well, but programs may import mpi4py in between.
            if (running := mpi.initialized()) is not None:
                mpi.check_agrees(running, self.launch)
            if self.launch.rank == 0 and not self._port_is_checked:
                check_free(self._main_port)
                self._port_is_checked = True
        return self._main_port

    @staticmethod
    def detect() -> bool:
        """Return whether a supported launcher started this process."""
        try:
            read_launch()
        except RuntimeError:
            return False
        return True

    def world_size(self) -> int:
        """Return the number of processes."""
        return self.launch.size

    def set_world_size(self, size: int) -> None:
        """Do nothing, because the launcher determines the number of processes."""

    def global_rank(self) -> int:
        """Return the index of this process among all processes."""
        return self.launch.rank

    def set_global_rank(self, rank: int) -> None:
        """Do nothing, because the launcher determines the rank."""

    def local_rank(self) -> int:
        """Return the index of this process among the processes of its node."""
        return self.launch.local_rank or 0

    def node_rank(self) -> int:
        """Return the index of this node.

        Raises
        ------
        RuntimeError
            If the index is unknown. This happens if the job has several nodes, the launcher does not number
            them (Open MPI, MPICH), the ranks did not have to exchange the address or the port,
            `MPIDDPStrategy` has not determined the index yet, and NODE_RANK is not set.
        """
        if self._node_rank is not None:
            return self._node_rank
        if os.environ.get("NODE_RANK", "").isdecimal():
            return int(os.environ["NODE_RANK"])
        raise RuntimeError(
            f"{self.launch}: the index of this node is unknown. Use strategy='ddp_with_mpi', which "
            "determines it, unset MASTER_ADDR and MASTER_PORT, so that the ranks exchange their hosts, or "
            "set NODE_RANK on each node."
        )

    @property
    def needs_hosts(self) -> bool:
        """Whether the index of this node is still unknown."""
        return self._node_rank is None

    def set_hosts(self, hosts: Sequence[str]) -> None:
        """Set the index of this node from the host names of all ranks, numbered by first appearance."""
        self._node_rank = list(dict.fromkeys(hosts)).index(hosts[self.launch.rank])

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        """Check the Trainer's `devices` and `num_nodes` against the launch.

        Parameters
        ----------
        num_devices
            Number of processes on each node, according to the Trainer.
        num_nodes
            Number of nodes, according to the Trainer.

        Raises
        ------
        ValueError
            If the settings contradict the launch. The message contains the correct values.
        """
        launch = self.launch
        on_node = launch.local_size
        fits = num_devices * num_nodes == launch.size and self.local_rank() < num_devices
        if fits and on_node in (None, num_devices):
            return
        if on_node is None:
            remedy = (
                "Pass the number of processes on each node as devices, and the number of nodes as num_nodes"
            )
        elif launch.size % on_node:
            remedy = "Start the same number of processes on every node"
        else:
            remedy = (
                f"Pass devices={on_node}, num_nodes={launch.size // on_node} "
                "(or **mml_distributed.read_launch().trainer_arguments())"
            )
        here = "" if on_node is None else f", {on_node} of them on this node"
        raise ValueError(
            f"{launch.launcher} started {launch.size} processes{here}, but Trainer(devices={num_devices}, "
            f"num_nodes={num_nodes}) requires {num_devices * num_nodes}. {remedy}, or start "
            f"{num_devices * num_nodes} processes, {num_devices} on each node."
        )

    def teardown(self) -> None:
        """Do nothing, because this environment has nothing to clean up."""
