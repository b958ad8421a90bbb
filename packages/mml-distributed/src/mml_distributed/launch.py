"""The place of this process in an MPI launch: rank, size, local rank and node, as reported by the launcher.

`launchers.py` reads the variables of each launcher. This module interprets them and selects a launcher if
several have set variables. Nothing is guessed. In particular, the local rank is never computed as rank %
local size, and the node is never computed as rank // local size: Open MPI numbers the ranks of a node in its
own order, and a round-robin placement puts ranks 0 and 2 on node 0.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

logger = logging.getLogger(__name__)

HYDRA = "Hydra (MPICH, Intel MPI)"
OPEN_MPI = "Open MPI"
PALS = "PALS"
SLURM = "Slurm"


@dataclass(frozen=True)
class Launch:
    """The place of this process in a launch, as reported by the launcher.

    Parameters
    ----------
    launcher
        Name of the launcher.
    rank_variable
        Name of the variable that contains `rank`, for messages.
    rank, size
        Index of this process among all processes, and their number.
    local_rank, local_size
        Index of this process among the processes of its node, and their number. None if the launcher does not
        report them.
    node_rank
        Index of the node. None if the launcher does not report it.
    job
        Text that is the same on all ranks and differs between jobs. None if the launcher does not provide
        one.
    host
        The launcher's name for this node. None if the launcher does not report it.
    first_host
        The launcher's name for the node of rank 0. None if the launcher does not report it.
    """

    launcher: str
    rank_variable: str
    rank: int
    size: int
    local_rank: int | None = None
    local_size: int | None = None
    node_rank: int | None = None
    job: str | None = None
    host: str | None = None
    first_host: str | None = None

    @property
    def one_node(self) -> bool:
        """Whether all processes are known to be on one node."""
        return self.size in (1, self.local_size)

    def trainer_arguments(self) -> dict[str, int]:
        """Return the `devices` and `num_nodes` of this launch as arguments for a Trainer.

        Raises
        ------
        ValueError
            If the launcher does not report the number of processes on this node, or if the nodes have
            different numbers of processes.
        """
        on_node = 1 if self.size == 1 else self.local_size
        if on_node is None or self.size % on_node:
            found = "an unknown number" if on_node is None else str(on_node)
            raise ValueError(
                f"{self}, {found} of them on this node. Lightning requires the same number on every node. "
                "Start it so, or pass devices and num_nodes to the Trainer explicitly."
            )
        return {"devices": on_node, "num_nodes": self.size // on_node}

    def __str__(self) -> str:
        return f"{self.launcher}: {self.rank_variable}={self.rank} of {self.size}"


def choose(
    launches: Sequence[Launch], processes: Sequence[str], makers: Mapping[str, str], env: Mapping[str, str]
) -> Launch:
    """Choose the launch that this process belongs to, and validate it.

    If several launchers have set variables, one was started inside the other, and the launcher whose process
    is the nearest ancestor is chosen. Launches with the same rank and size as the chosen one are other views
    of the same launch, because PALS and srun also set PMI variables. They may provide a missing local rank.
    If the ancestors are unknown, Slurm is assumed to be the outer launcher, because srun starts the daemons
    of other launchers.

    Parameters
    ----------
    launches
        The launch read from each launcher's variables.
    processes
        Names of this process's ancestors, nearest first. Empty if they are unknown.
    makers
        Mapping from process name to launcher.
    env
        Environment variables, for messages.

    Returns
    -------
    Launch
        The chosen launch.

    Raises
    ------
    RuntimeError
        If `launches` is empty.
    ValueError
        If the launch contradicts itself or has no local rank, or if the inner one of several launches cannot
        be determined.
    """
    if not launches:
        in_slurm = "SLURM_JOB_ID" in env
        srun = " or srun (the script of a Slurm batch job is not a task)" if in_slurm else ""
        raise RuntimeError(
            "No MPI launcher started this process: none of OMPI_COMM_WORLD_RANK, PMI_RANK, PALS_RANKID and "
            f"SLURM_PROCID of an srun step is set. Start it with mpirun{srun}, such as `mpirun -n 2 python "
            "train.py`, or use a strategy that starts its own processes, such as strategy='ddp'."
        )
    same = _innermost(launches, processes, makers)
    launch = next((one for one in same if one.local_rank is not None or one.size == 1), same[0])
    _check(launch)
    return launch


def refuse_relaunch(launch: Launch, env: Mapping[str, str]) -> None:
    """Raise an error if another program (Lightning, torchrun) started this process inside a rank.

    Such a process has inherited the launcher's variables and would act as that rank.

    Raises
    ------
    ValueError
        If LOCAL_RANK, which these programs set, differs from the launcher's local rank.
    """
    local = env.get("LOCAL_RANK")
    if local and launch.local_rank is not None and local != str(launch.local_rank):
        raise ValueError(
            f"{launch}, local rank {launch.local_rank}, but LOCAL_RANK={local!r}. Lightning or torchrun "
            "started this process inside a rank of the MPI launch, so both would start processes. Use "
            "strategy='ddp_with_mpi' with mpirun, or start the program with python or torchrun alone. Unset "
            "LOCAL_RANK if it is left over from an earlier command."
        )


def _innermost(
    launches: Sequence[Launch], processes: Sequence[str], makers: Mapping[str, str]
) -> list[Launch]:
    """Return the launch that this process belongs to, and the launches that agree with it."""
    present = {one.launcher for one in launches}
    nearest = next((makers[name] for name in processes if makers.get(name) in present), None)
    inner = [one for one in launches if one.launcher == nearest]
    if not inner and len({(one.rank, one.size) for one in launches}) > 1:
        inner = [one for one in launches if one.launcher != SLURM]
    inner = inner or list(launches)
    if len({(one.rank, one.size) for one in inner}) > 1:
        raise ValueError(
            f"The variables of several launchers contradict each other ({'; '.join(map(str, inner))}), and "
            "the launcher that started this process cannot be determined. Unset the variables of the outer "
            f"launcher, for example with `env -u {inner[0].rank_variable} ...`."
        )
    same = inner + [one for one in launches if one not in inner and _agree(one, inner[0])]
    outer = [one for one in launches if one not in same]
    if outer and inner[0].rank == 0:
        logger.warning("Nested launch: %s is used, %s is ignored", inner[0], "; ".join(map(str, outer)))
    return same


def _agree(one: Launch, other: Launch) -> bool:
    return (one.rank, one.size) == (other.rank, other.size)


def _check(launch: Launch) -> None:
    again = "Start the program with one launcher, and do not set its variables manually."
    if not 0 <= launch.rank < launch.size:
        raise ValueError(f"{launch}: the rank must be between 0 and the size minus 1. {again}")
    if launch.local_rank is None and launch.size > 1:
        raise ValueError(
            f"{launch}: this launcher does not report local ranks (mpiexec.gforker does not). Use "
            "mpiexec.hydra or mpirun, which set MPI_LOCALRANKID, or the launcher of Open MPI."
        )
    local_rank, local_size = launch.local_rank, launch.local_size
    if local_rank is not None and local_size is not None and not 0 <= local_rank < local_size <= launch.size:
        raise ValueError(
            f"{launch}, but local rank {local_rank} of {local_size} on this node is impossible. {again}"
        )
