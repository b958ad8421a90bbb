import logging

import pytest
from mml_distributed.launch import HYDRA, OPEN_MPI, PALS, SLURM, Launch, refuse_relaunch
from mml_distributed.launchers import read_launch

OMPI = {
    "OMPI_COMM_WORLD_RANK": "0",
    "OMPI_COMM_WORLD_SIZE": "1",
    "OMPI_COMM_WORLD_LOCAL_RANK": "0",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "1",
}
PMI = {"PMI_RANK": "1", "PMI_SIZE": "2", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2"}
STEP = {"SLURM_STEP_ID": "0", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1", "SLURM_LOCALID": "0"}


@pytest.mark.parametrize(
    ("env", "processes", "inner"),
    [
        ({**OMPI, **PMI}, ["bash", "hydra_pmi_proxy", "mpiexec", "prterun", "bash"], HYDRA),
        ({**OMPI, **PMI}, ["python", "prterun", "hydra_pmi_proxy", "mpiexec"], OPEN_MPI),
        ({**OMPI, **PMI}, ["mpirun", "hydra_pmi_proxy"], OPEN_MPI),
        ({**STEP, **PMI}, ["hydra_pmi_proxy", "slurmstepd"], HYDRA),
        ({**STEP, **PMI}, ["slurmstepd", "hydra_pmi_proxy"], SLURM),
        # Without /proc, as on macOS: srun starts the daemons of other launchers, not the other way round.
        ({**STEP, **PMI}, [], HYDRA),
        ({**STEP, **OMPI}, [], OPEN_MPI),
    ],
)
def test_choose_takes_inner_launch(env, processes, inner):
    assert read_launch(env, processes).launcher == inner


def test_choose_warns_about_nested_launch(caplog):
    with caplog.at_level(logging.WARNING):
        read_launch({**OMPI, **PMI}, ["hydra_pmi_proxy"])  # rank 1: silent
        assert caplog.text == ""
        read_launch({**OMPI, **PMI, "PMI_RANK": "0"}, ["hydra_pmi_proxy"])
    assert "PMI_RANK=0 of 2 is used, Open MPI: OMPI_COMM_WORLD_RANK=0 of 1 is ignored" in caplog.text


def test_ranks_of_nested_launch_agree():
    """Outer rank 0 of 2 starts two inner ranks, of which only inner rank 0 has the outer rank's numbers."""
    outer = {**OMPI, "OMPI_COMM_WORLD_SIZE": "2", "PMIX_NAMESPACE": "outer"}
    launches = [
        read_launch({**outer, **PMI, "PMI_RANK": rank}, ["hydra_pmi_proxy", "prterun"]) for rank in "01"
    ]
    assert [one.launcher for one in launches] == [HYDRA, HYDRA]


def test_choose_does_not_guess_inner_launch():
    with pytest.raises(
        ValueError, match=r"OMPI_COMM_WORLD_RANK=0 of 1; .*PMI_RANK=1 of 2.*Unset the variables of the outer"
    ):
        read_launch({**OMPI, **PMI}, [])


def test_choose_rejects_missing_local_rank():
    """Recorded from MPICH's mpiexec.gforker."""
    env = {"PMI_RANK": "1", "PMI_SIZE": "2", "PMI_FD": "12", "PMI_DEBUG": "0"}
    with pytest.raises(ValueError, match=r"mpiexec.gforker does not\). Use mpiexec.hydra"):
        read_launch(env, ["mpiexec.gforker"])
    assert read_launch({**env, "PMI_RANK": "0", "PMI_SIZE": "1"}, []).one_node


def test_choose_rejects_impossible_local_rank():
    for change in ({"MPI_LOCALRANKID": "2"}, {"MPI_LOCALNRANKS": "3"}, {"MPI_LOCALRANKID": "-1"}):
        with pytest.raises(ValueError, match="on this node is impossible"):
            read_launch({**PMI, **change}, [])


def test_choose_merges_slurm_and_cray_pmi(recorded, caplog):
    for env in recorded["slurm_with_cray_pmi"]["ranks"]:
        slurm, pals = read_launch(env, ["slurmstepd"]), read_launch(env, [])
        assert (slurm.launcher, pals.launcher) == (SLURM, PALS)
        for name in ("rank", "size", "local_rank", "local_size", "node_rank", "job"):
            assert getattr(slurm, name) == getattr(pals, name)
        assert (slurm.host, slurm.first_host) == (env["SLURMD_NODENAME"], "nid000001")
    assert caplog.text == ""


def test_choose_merges_agreeing_launchers(recorded, caplog):
    for name, process in (("slurm_with_pmi2", "slurmstepd"), ("pals_two_nodes_blocked", "palsd")):
        for env in recorded[name]["ranks"]:
            assert read_launch(env, [process]) == read_launch(env, [])
    assert caplog.text == ""


def test_choose_rejects_process_started_by_lightning():
    launch = Launch(OPEN_MPI, "OMPI_COMM_WORLD_RANK", 0, 2, 0, 2)
    for env in ({}, {"LOCAL_RANK": ""}, {"LOCAL_RANK": "0"}):
        refuse_relaunch(launch, env)
    with pytest.raises(ValueError, match=r"LOCAL_RANK='1'. Lightning or torchrun .*strategy='ddp_with_mpi'"):
        refuse_relaunch(launch, {"LOCAL_RANK": "1"})


@pytest.mark.parametrize(
    ("size", "local_size", "arguments"),
    [(8, 4, (4, 2)), (4, 4, (4, 1)), (1, None, (1, 1)), (5, 2, None), (4, None, None)],
)
def test_trainer_arguments_equal_launch(size, local_size, arguments):
    launch = Launch(OPEN_MPI, "OMPI_COMM_WORLD_RANK", 0, size, 0, local_size)
    if arguments is None:
        with pytest.raises(ValueError, match="Lightning requires the same number on every node"):
            launch.trainer_arguments()
    else:
        assert tuple(launch.trainer_arguments().values()) == arguments
