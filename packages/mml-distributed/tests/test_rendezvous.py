import socket
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mml_distributed import rendezvous as module
from mml_distributed.ancestry import Process
from mml_distributed.launchers import read_launch
from mml_distributed.rendezvous import PORTS, check_free, derive_port, job_from_ancestors, rendezvous


def test_ranks_of_one_node_derive_same_place(recorded, monkeypatch):
    monkeypatch.setattr(module, "ancestors", lambda: [Process(5, "sh", 1), Process(4, "hydra_pmi_proxy", 7)])
    for name in ("open_mpi_one_node", "mpich_one_node", "intel_mpi_one_node", "slurm_one_node"):
        places = {rendezvous(read_launch(env, []), {}) for env in recorded[name]["ranks"]}
        assert len(places) == 1
        address, port = places.pop()
        assert address == "127.0.0.1"
        assert port in PORTS


def test_several_nodes_require_address(recorded):
    for name in ("open_mpi_two_nodes_round_robin", "mpich_two_nodes_uneven", "pals_two_nodes_blocked"):
        for env in recorded[name]["ranks"]:
            with pytest.raises(
                RuntimeError, match=r"Set MASTER_ADDR on all ranks to the host name or IP address of its node"
            ):
                rendezvous(read_launch(env, []), {})


def test_several_nodes_derive_port_from_job(recorded):
    env = {"MASTER_ADDR": "n0"}
    for name in (
        "open_mpi_two_nodes_round_robin",
        "intel_mpi_two_nodes_round_robin",
        "slurm_two_nodes_uneven",
    ):
        assert len({rendezvous(read_launch(one, []), env) for one in recorded[name]["ranks"]}) == 1


def test_slurm_address_does_not_start_mpi(recorded, monkeypatch):
    monkeypatch.setattr(module.mpi, "initialize", lambda: pytest.fail("MPI is started"))
    env = recorded["slurm_with_cray_pmi"]["ranks"]
    for one in env:
        launch = read_launch(one, ["slurmstepd"])
        for nothing in ({}, {"MASTER_ADDR": "", "MASTER_PORT": ""}):
            assert rendezvous(launch, nothing) == ("nid000001", derive_port("812.0"))
        assert rendezvous(launch, {"MASTER_ADDR": "n9", "MASTER_PORT": "29500"}) == ("n9", 29500)
    elsewhere = read_launch({**env[0], "SLURMD_NODENAME": "nid000002"}, ["slurmstepd"])
    with pytest.raises(
        RuntimeError, match=r"on node 'nid000002', but .* with 'nid000001'. Set MASTER_ADDR=nid"
    ):
        rendezvous(elsewhere, {})


def test_several_nodes_reject_port_of_one_process(recorded, monkeypatch):
    monkeypatch.setattr(module, "ancestors", lambda: [Process(4, "hydra_pmi_proxy", 7)])
    launch = read_launch(recorded["mpich_two_nodes_round_robin"]["ranks"][0], [])
    with pytest.raises(RuntimeError, match="Set MASTER_PORT on all ranks to a free port of rank 0's node"):
        rendezvous(launch, {"MASTER_ADDR": "n0"})
    assert rendezvous(launch, {"MASTER_ADDR": "n0", "MASTER_PORT": "29500"}) == ("n0", 29500)


def test_arguments_override_variables(recorded):
    launch = read_launch(recorded["slurm_one_node"]["ranks"][0], [])
    env = {"MASTER_ADDR": "a", "MASTER_PORT": "1234"}
    assert rendezvous(launch, env, "b", 4321) == ("b", 4321)
    assert rendezvous(launch, env) == ("a", 1234)
    assert rendezvous(launch, {"MASTER_ADDR": "", "MASTER_PORT": ""}) == ("127.0.0.1", derive_port("812.0"))


@pytest.mark.parametrize("port", ["0", "65536", "-1", "http", "29500 ", "1e3"])
def test_invalid_port_is_rejected(recorded, port):
    launch = read_launch(recorded["slurm_one_node"]["ranks"][0], [])
    with pytest.raises(ValueError, match=f"MASTER_PORT must be a port from 1 to 65535, got '{port}'"):
        rendezvous(launch, {"MASTER_PORT": port})


@given(job=st.text())
def test_derived_ports_are_stable_and_in_range(job):
    assert derive_port(job) == derive_port(job)
    assert derive_port(job) in PORTS


def test_derived_ports_are_spread():
    assert len({derive_port(f"{job}.0") for job in range(1000)}) > 900


def test_job_of_node_is_launcher_process():
    proxy = Process(4, "hydra_pmi_proxy", 7)
    above = [proxy, Process(3, "mpiexec", 6)]
    assert job_from_ancestors([Process(9, "bash", 8), *above]) == job_from_ancestors(above) is not None
    assert job_from_ancestors([Process(4, "hydra_pmi_proxy", 8)]) != job_from_ancestors([proxy])
    assert job_from_ancestors([Process(9, "bash", 8)]) is None


def test_check_free_names_variable():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(RuntimeError, match=f"Port {port} of rank 0's node is used.*Set MASTER_PORT"):
            check_free(port)
    check_free(port)


def test_rank_zero_selects_free_port():
    ports = {module.free_port() for _ in range(20)}
    assert ports <= set(PORTS)
    assert len(ports) > 1


def test_running_mpi_with_other_ranks_is_rejected(recorded, monkeypatch):
    """A stand-in replaces mpi4py. test_mpiexec.py uses the real library."""
    for size, rank in ((1, 0), (4, 1)):
        world = SimpleNamespace(Get_rank=lambda rank=rank: rank, Get_size=lambda size=size: size)
        mpi = SimpleNamespace(
            Is_initialized=lambda: True,
            Is_finalized=lambda: False,
            COMM_WORLD=world,
            Get_library_version=lambda: "Some MPI 1.0\nmore\0",
        )
        monkeypatch.setitem(sys.modules, "mpi4py.MPI", mpi)
        launch = read_launch(recorded["slurm_one_node"]["ranks"][3], [])
        with pytest.raises(
            RuntimeError, match=rf"mpi4py reports rank {rank} of {size}. .*\(Some MPI 1.0\) that"
        ):
            rendezvous(launch, {"MASTER_ADDR": "n0", "MASTER_PORT": "29500"})


def resolve(monkeypatch, *addresses):
    def look_up(name, port):
        if not addresses:
            raise socket.gaierror("Name or service not known")
        return [(2, 1, 6, "", (address, 0)) for address in addresses]

    monkeypatch.setattr(module.socket, "getaddrinfo", look_up)


@pytest.mark.parametrize("addresses", [["127.0.1.1"], ["127.0.1.1", "::1"], []])
def test_gloo_on_loopback_is_rejected(recorded, monkeypatch, addresses):
    resolve(monkeypatch, *addresses)
    several = read_launch(recorded["open_mpi_two_nodes_round_robin"]["ranks"][1], [])
    with pytest.raises(RuntimeError, match="Set GLOO_SOCKET_IFNAME on all ranks"):
        module.check_gloo_interface(several, {})
    module.check_gloo_interface(several, {"GLOO_SOCKET_IFNAME": "eth0"})
    module.check_gloo_interface(read_launch(recorded["open_mpi_one_node"]["ranks"][1], []), {})
    resolve(monkeypatch, "127.0.1.1", "10.0.0.7")
    module.check_gloo_interface(several, {})


def test_unreachable_address_is_rejected(recorded, monkeypatch):
    env = recorded["intel_mpi_two_nodes_round_robin"]["ranks"]
    first, second = (read_launch(env[rank], []) for rank in (0, 1))
    assert (first.node_rank, second.node_rank) == (0, 1)
    resolve(monkeypatch)
    with pytest.raises(RuntimeError, match=r"'n9', cannot be resolved on .* Set MASTER_ADDR"):
        module.check_reachable(first, "n9")
    resolve(monkeypatch, "127.0.1.1")
    module.check_reachable(first, "n0")
    with pytest.raises(
        RuntimeError, match=r"'n0', is 127.0.1.1 on .*, which is the node itself. Set MASTER_ADDR"
    ):
        module.check_reachable(second, "n0")
    resolve(monkeypatch, "10.0.0.7")
    module.check_reachable(second, "n0")
