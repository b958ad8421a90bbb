"""Read the environment variables that each launcher sets for the processes it starts.

There is one function per launcher. It takes the environment and returns a `Launch`, or None if that launcher
did not start the process. No function loads an MPI library or imports mpi4py.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace

from mml_distributed.ancestry import ancestors
from mml_distributed.apinfo import read_application
from mml_distributed.launch import HYDRA, OPEN_MPI, PALS, SLURM, Launch, choose

MAKERS = {
    "hydra_pmi_proxy": HYDRA,
    "mpiexec.gforker": HYDRA,
    "orted": OPEN_MPI,
    "prted": OPEN_MPI,
    "prterun": OPEN_MPI,
    # Open MPI's mpirun starts the ranks of its own node itself. Other launchers use an intermediate process.
    "orterun": OPEN_MPI,
    "mpirun": OPEN_MPI,
    "mpiexec": OPEN_MPI,
    "palsd": PALS,
    "slurmstepd": SLURM,
}
"""Mapping from the name of the process that is the parent of a node's ranks to the launcher."""

SLURM_SPECIAL_STEPS = {"4294967290": "interactive", "4294967291": "batch", "4294967292": "extern"}
"""Slurm steps of shells and scripts, which are not srun tasks (SLURM_INTERACTIVE_STEP etc. in slurm.h)."""


def read_launch(env: Mapping[str, str] | None = None, processes: list[str] | None = None) -> Launch:
    """Return the place of this process in the launch that it belongs to.

    Parameters
    ----------
    env
        Environment variables. Default: `os.environ`.
    processes
        Names of the ancestors, nearest first. Default: the ancestors of this process.

    Returns
    -------
    Launch
        The rank, size, local rank and node of this process.

    Raises
    ------
    RuntimeError
        If no launcher started this process.
    ValueError
        If only one of rank and size is set, a number is invalid, or the variables contradict each other. The
        message names the variable.
    """
    env = os.environ if env is None else env
    launches = [launch for read in (open_mpi, hydra, pals, slurm) if (launch := read(env)) is not None]
    if processes is None:
        processes = [process.name for process in ancestors()]
    return choose(launches, processes, MAKERS, env)


def open_mpi(env: Mapping[str, str]) -> Launch | None:
    """Read the variables of Open MPI.

    They do not include a node index, because `OMPI_COMM_WORLD_NODE_RANK` is a local rank.
    """
    return _launch(
        env,
        OPEN_MPI,
        rank="OMPI_COMM_WORLD_RANK",
        size="OMPI_COMM_WORLD_SIZE",
        local_rank="OMPI_COMM_WORLD_LOCAL_RANK",
        local_size="OMPI_COMM_WORLD_LOCAL_SIZE",
        job=env.get("PMIX_NAMESPACE") or env.get("OMPI_MCA_ess_base_jobid"),
        host=env.get("PMIX_HOSTNAME"),
    )


def hydra(env: Mapping[str, str]) -> Launch | None:
    """Read the variables of Hydra, the launcher of MPICH and Intel MPI.

    Only Intel MPI provides the node index and the identity of the job.
    """
    return _launch(
        env,
        HYDRA,
        rank="PMI_RANK",
        size="PMI_SIZE",
        local_rank="MPI_LOCALRANKID",
        local_size="MPI_LOCALNRANKS",
        node_rank="HYDRA_BSTRAP_NODE_ID",
        job=env.get("I_MPI_HYDRA_UUID"),
        host=env.get("PMI_HOSTNAME") or env.get("HYDRA_BSTRAP_LOCALHOST"),
    )


def pals(env: Mapping[str, str]) -> Launch | None:
    """Read the variables of PALS, the launcher of HPE Cray systems.

    The variables include the number of ranks only if PALS uses its own PMI (`mpiexec --pmi=cray`). With PMIx,
    the number of ranks and the host names come from the file that `apinfo.py` reads.
    """
    if "PALS_RANKID" not in env:
        return None
    application = read_application(env)
    if application is not None:
        env = {"PMI_SIZE": str(len(application.nodes)), **env}
    elif "PMI_SIZE" not in env:
        raise ValueError(
            f"PALS_RANKID={env['PALS_RANKID']!r} is set, but PMI_SIZE is not, and PALS_APINFO="
            f"{env.get('PALS_APINFO', '')!r} does not contain the number of ranks. Start the program with "
            "mpiexec --pmi=cray, or unset PALS_RANKID."
        )
    launch = _launch(
        env,
        PALS,
        rank="PALS_RANKID",
        size="PMI_SIZE",
        local_rank="PALS_LOCAL_RANKID",
        local_size="PALS_LOCAL_SIZE" if "PALS_LOCAL_SIZE" in env else "PMI_LOCAL_SIZE",
        node_rank="PALS_NODEID",
        job=env.get("PALS_APID"),
    )
    if launch is None or application is None:
        return launch
    node = application.nodes[launch.rank]
    return replace(
        launch,
        local_size=launch.local_size or application.nodes.count(node),
        host=application.hosts[node],
        first_host=application.host(0),
    )


def slurm(env: Mapping[str, str]) -> Launch | None:
    """Read the variables of an srun task. Batch scripts and interactive shells are not launches."""
    step = env.get("SLURM_STEP_ID")
    if step is None or step in SLURM_SPECIAL_STEPS:
        return None
    launch = _launch(
        env,
        SLURM,
        rank="SLURM_PROCID",
        size="SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in env else "SLURM_NTASKS",
        local_rank="SLURM_LOCALID",
        node_rank="SLURM_NODEID",
        job=f"{env['SLURM_JOB_ID']}.{step}" if "SLURM_JOB_ID" in env else None,
        host=env.get("SLURMD_NODENAME"),
        # Task 0 runs on the first node of the list, unless the user places the tasks with a host file.
        first_host=None
        if "arbitrary" in env.get("SLURM_DISTRIBUTION", "")
        else first_node(env.get("SLURM_STEP_NODELIST", "")),
    )
    counts = env.get("SLURM_STEP_TASKS_PER_NODE")
    if launch is None or counts is None or launch.node_rank is None:
        return launch
    per_node = expand_tasks_per_node(counts)
    if not 0 <= launch.node_rank < len(per_node):
        raise ValueError(
            f"SLURM_NODEID={launch.node_rank} contradicts SLURM_STEP_TASKS_PER_NODE={counts!r}, which lists "
            f"{len(per_node)} node(s). Do not set Slurm's variables manually."
        )
    return replace(launch, local_size=per_node[launch.node_rank])


def first_node(text: str) -> str | None:
    """Return the first name of a node list in Slurm's short form, or None if the list is empty.

    For example, the first name of "n[01-03,7],m5" is "n01".
    """
    name = ""
    rest = text
    while match := re.match(r"([^\[\],]*)\[(\d+)[^\]]*\]", rest):
        name += match[1] + match[2]
        rest = rest[match.end() :]
    return (name + rest.partition(",")[0]).strip() or None


def expand_tasks_per_node(text: str) -> list[int]:
    """Expand Slurm's "2(x3),1" to [2, 2, 2, 1], the number of tasks on each node.

    Raises
    ------
    ValueError
        If the text has another form.
    """
    counts: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part.strip())
        if match is None:
            raise ValueError(
                f"SLURM_STEP_TASKS_PER_NODE must have the form '2(x3),1', got {text!r} (invalid: {part!r})"
            )
        counts += [int(match[1])] * int(match[2] or 1)
    return counts


def _launch(
    env: Mapping[str, str],
    launcher: str,
    *,
    rank: str,
    size: str,
    local_rank: str,
    local_size: str | None = None,
    node_rank: str | None = None,
    job: str | None = None,
    host: str | None = None,
    first_host: str | None = None,
) -> Launch | None:
    if rank not in env and size not in env:
        return None
    for there, missing in ((rank, size), (size, rank)):
        if missing not in env:
            raise ValueError(
                f"{there}={env[there]!r} is set, but {missing} is not. {launcher} sets both. Start the "
                f"program with mpirun, or unset {there}."
            )
    return Launch(
        launcher=launcher,
        rank_variable=rank,
        rank=_integer(env, rank, launcher),
        size=_integer(env, size, launcher),
        local_rank=_optional_integer(env, local_rank, launcher),
        local_size=_optional_integer(env, local_size, launcher),
        node_rank=_optional_integer(env, node_rank, launcher),
        job=job,
        host=host,
        first_host=first_host,
    )


def _optional_integer(env: Mapping[str, str], name: str | None, launcher: str) -> int | None:
    return None if name is None or name not in env else _integer(env, name, launcher)


def _integer(env: Mapping[str, str], name: str, launcher: str) -> int:
    # int() would accept "1_0" and " 1 ", which no launcher writes.
    if not re.fullmatch(r"-?[0-9]+", env[name]):
        raise ValueError(
            f"{name} must be an integer, as set by {launcher}, got {env[name]!r}. Start the program with "
            f"mpirun, or unset {name}."
        )
    return int(env[name])
