import os
import socket
import sys
from types import SimpleNamespace

import pytest
import torch
from lightning_utilities.core.rank_zero import rank_zero_only
from mml_distributed.environment import MPIEnvironmentMixin
from mml_distributed.launch import refuse_relaunch
from mml_distributed.launchers import read_launch


def test_environment_answers_lightning(lightning, launched, recorded):
    launched(recorded["intel_mpi_two_nodes_round_robin"]["ranks"][3] | {"MASTER_ADDR": "n0"})
    environment = lightning.MPIEnvironment(main_port=29512)
    assert environment.creates_processes_externally
    assert (environment.main_address, environment.main_port) == ("n0", 29512)
    environment.set_world_size(9)
    environment.set_global_rank(9)
    assert (environment.world_size(), environment.global_rank()) == (4, 3)
    assert (environment.local_rank(), environment.node_rank()) == (1, 1)
    assert isinstance(environment, MPIEnvironmentMixin)
    assert lightning.MPIEnvironment.__abstractmethods__ == frozenset()
    assert lightning.MPIEnvironment.detect()


def test_environment_requires_launcher(lightning, launched):
    assert not lightning.MPIEnvironment.detect()
    with pytest.raises(RuntimeError, match="Start it with mpirun"):
        lightning.MPIEnvironment()


def test_environment_determines_place_once(lightning, launched, alone):
    launched(alone)
    environment = lightning.MPIEnvironment()
    os.environ["MASTER_ADDR"] = "elsewhere"
    os.environ["MASTER_PORT"] = "1"
    assert (environment.main_address, environment.main_port) == ("127.0.0.1", 29511)


def test_environment_rejects_used_port(lightning, launched, recorded):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        for rank in (0, 1):
            launched(recorded["slurm_one_node"]["ranks"][rank] | {"MASTER_PORT": str(port)})
            environment = lightning.MPIEnvironment()
            if rank == 0:
                with pytest.raises(RuntimeError, match=f"Port {port} .* is used .*Set MASTER_PORT"):
                    _ = environment.main_port
            else:
                assert environment.main_port == port


def test_environment_checks_mpi4py_imported_later(lightning, launched, recorded, monkeypatch):
    """The stand-in for mpi4py reports rank 0 of 1, like an MPI library that is not the launcher's."""
    launched(recorded["slurm_one_node"]["ranks"][1])
    environment = lightning.MPIEnvironment()
    world = SimpleNamespace(Get_rank=lambda: 0, Get_size=lambda: 1)
    mpi = SimpleNamespace(
        Is_initialized=lambda: True,
        Is_finalized=lambda: False,
        COMM_WORLD=world,
        Get_library_version=lambda: "Some MPI 1.0",
    )
    monkeypatch.setitem(sys.modules, "mpi4py.MPI", mpi)
    for strategy in (lightning.MPIDDPStrategy, lightning.pl.strategies.FSDPStrategy):
        made = strategy(cluster_environment=environment)
        with pytest.raises(RuntimeError, match=r"mpi4py reports rank 0 of 1. It loaded an MPI"):
            _ = made.cluster_environment.main_port


def test_set_hosts_numbers_nodes(lightning, launched, recorded):
    place = {"MASTER_ADDR": "n0", "MASTER_PORT": "29512"}
    nodes = []
    for env in recorded["open_mpi_two_nodes_round_robin"]["ranks"]:
        launched(env | place)
        environment = lightning.MPIEnvironment()
        with pytest.raises(RuntimeError, match=r"index of this node is unknown. Use strategy='ddp_with_mpi'"):
            environment.node_rank()
        launched(env | place | {"NODE_RANK": "7"})
        assert environment.node_rank() == 7
        assert environment.needs_hosts
        environment.set_hosts(["n0", "n1", "n0", "n1"])
        assert not environment.needs_hosts
        nodes.append(environment.node_rank())
    assert nodes == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("name", "rank", "devices", "num_nodes", "message"),
    [
        (
            "slurm_one_node",
            0,
            1,
            1,
            r"4 processes, 4 of them on this node, .*requires 1. Pass devices=4, num_nodes=1",
        ),
        ("mpich_two_nodes_round_robin", 3, 4, 1, r"requires 4. Pass devices=2, num_nodes=2"),
        ("mpich_two_nodes_round_robin", 0, 1, 4, r"Pass devices=2, num_nodes=2"),
        ("mpich_two_nodes_round_robin", 0, 2, 1, r"requires 2. Pass devices=2, num_nodes=2"),
        ("mpich_two_nodes_uneven", 2, 2, 2, r"Start the same number of processes on every node"),
        ("mpich_two_nodes_uneven", 0, 2, 2, r"Start the same number of processes on every node"),
        ("mpich_two_nodes_uneven", 3, 2, 2, r"4 processes, 1 of them on this node"),
    ],
)
def test_environment_rejects_contradicting_trainer(
    lightning, launched, recorded, name, rank, devices, num_nodes, message
):
    launched(recorded[name]["ranks"][rank] | {"MASTER_ADDR": "n0", "MASTER_PORT": "29512"})
    with pytest.raises(ValueError, match=message):
        lightning.MPIEnvironment().validate_settings(num_devices=devices, num_nodes=num_nodes)


def test_environment_accepts_matching_trainer(lightning, launched, recorded):
    for name, devices in (
        ("slurm_one_node", 4),
        ("mpich_two_nodes_round_robin", 2),
        ("pals_two_nodes_blocked", 2),
    ):
        for env in recorded[name]["ranks"]:
            launched(env | {"MASTER_ADDR": "n0", "MASTER_PORT": "29512"})
            lightning.MPIEnvironment().validate_settings(num_devices=devices, num_nodes=4 // devices)


def test_fsdp_uses_environment(lightning, launched, recorded, monkeypatch):
    """The test covers ranks and addresses, because FSDP requires GPUs. test_mpiexec.py runs FSDP2."""
    monkeypatch.setattr(rank_zero_only, "rank", rank_zero_only.rank, raising=False)
    launched(recorded["intel_mpi_two_nodes_round_robin"]["ranks"][3] | {"MASTER_ADDR": "n0"})
    environment = lightning.MPIEnvironment(main_port=29512)
    devices = [torch.device("cpu")] * 2
    strategy = lightning.pl.strategies.FSDPStrategy(cluster_environment=environment, parallel_devices=devices)
    strategy.num_nodes = 2
    strategy.set_world_ranks()
    assert (strategy.global_rank, strategy.local_rank, strategy.node_rank) == (3, 1, 1)
    assert strategy.world_size == 4


def test_deepspeed_uses_environment(lightning, launched, recorded):
    """Lightning's function sets the variables for DeepSpeed, which is not installed."""
    launched(recorded["intel_mpi_two_nodes_round_robin"]["ranks"][3] | {"MASTER_ADDR": "n0"})
    environment = lightning.MPIEnvironment(main_port=29512)
    strategy = SimpleNamespace(
        cluster_environment=environment,
        global_rank=environment.global_rank(),
        local_rank=environment.local_rank(),
        world_size=environment.world_size(),
    )
    lightning.pl.strategies.DeepSpeedStrategy._set_node_environment_variables(strategy)
    names = ("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "LOCAL_RANK")
    assert [os.environ[name] for name in names] == ["n0", "29512", "3", "4", "1"]
    assert read_launch() == environment.launch, "and the launcher's variables still say the same"
    refuse_relaunch(environment.launch, os.environ)
