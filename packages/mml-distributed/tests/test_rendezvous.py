import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mml_distributed import rendezvous as module
from mml_distributed.ancestry import Process
from mml_distributed.launchers import read_launch
from mml_distributed.rendezvous import PORTS, check_free, derive_port, job_from_ancestors, rendezvous


def test_all_ranks_of_one_node_derive_the_same_place(recorded, monkeypatch):
    monkeypatch.setattr(module, "ancestors", lambda: [Process(5, "sh", 1), Process(4, "hydra_pmi_proxy", 7)])
    for name in ("open_mpi_one_node", "mpich_one_node", "intel_mpi_one_node", "slurm_one_node"):
        places = {rendezvous(read_launch(env, []), {}) for env in recorded[name]["ranks"]}
        assert len(places) == 1
        address, port = places.pop()
        assert address == "127.0.0.1"
        assert port in PORTS


def test_several_nodes_need_an_address(recorded):
    for name in ("open_mpi_two_nodes_round_robin", "mpich_two_nodes_uneven", "pals_two_nodes_blocked"):
        for env in recorded[name]["ranks"]:
            with pytest.raises(
                RuntimeError, match=r"set MASTER_ADDR to the host name or IP address of its node"
            ):
                rendezvous(read_launch(env, []), {})


def test_several_nodes_share_the_jobs_port_where_the_launcher_names_the_job(recorded):
    env = {"MASTER_ADDR": "n0"}
    for name in (
        "open_mpi_two_nodes_round_robin",
        "intel_mpi_two_nodes_round_robin",
        "slurm_two_nodes_uneven",
    ):
        assert len({rendezvous(read_launch(one, []), env) for one in recorded[name]["ranks"]}) == 1


def test_several_nodes_never_take_a_port_from_a_process_of_one_of_them(recorded, monkeypatch):
    monkeypatch.setattr(module, "ancestors", lambda: [Process(4, "hydra_pmi_proxy", 7)])
    launch = read_launch(recorded["mpich_two_nodes_round_robin"]["ranks"][0], [])
    with pytest.raises(RuntimeError, match="set MASTER_PORT to a free port of rank 0's node on all ranks"):
        rendezvous(launch, {"MASTER_ADDR": "n0"})
    assert rendezvous(launch, {"MASTER_ADDR": "n0", "MASTER_PORT": "29500"}) == ("n0", 29500)


def test_arguments_before_variables_before_what_is_derived(recorded):
    launch = read_launch(recorded["slurm_one_node"]["ranks"][0], [])
    env = {"MASTER_ADDR": "a", "MASTER_PORT": "1234"}
    assert rendezvous(launch, env, "b", 4321) == ("b", 4321)
    assert rendezvous(launch, env) == ("a", 1234)
    assert rendezvous(launch, {"MASTER_ADDR": "", "MASTER_PORT": ""}) == ("127.0.0.1", derive_port("812.0"))


@pytest.mark.parametrize("port", ["0", "65536", "-1", "http", "29500 ", "1e3"])
def test_a_port_that_is_none_is_refused(recorded, port):
    launch = read_launch(recorded["slurm_one_node"]["ranks"][0], [])
    with pytest.raises(ValueError, match=f"MASTER_PORT='{port}' is not a port"):
        rendezvous(launch, {"MASTER_PORT": port})


@settings(max_examples=50, deadline=None)
@given(job=st.text())
def test_ports_are_stable_and_in_range(job):
    assert derive_port(job) == derive_port(job)
    assert derive_port(job) in PORTS


def test_jobs_do_not_crowd_on_a_few_ports():
    assert len({derive_port(f"{job}.0") for job in range(1000)}) > 900


def test_the_job_of_a_node_is_its_launchers_process():
    proxy = Process(4, "hydra_pmi_proxy", 7)
    above = [proxy, Process(3, "mpiexec", 6)]
    assert job_from_ancestors([Process(9, "bash", 8), *above]) == job_from_ancestors(above) is not None
    assert job_from_ancestors([Process(4, "hydra_pmi_proxy", 8)]) != job_from_ancestors([proxy])
    assert job_from_ancestors([Process(9, "bash", 8)]) is None


def test_a_taken_port_is_an_error_that_names_the_variable():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(RuntimeError, match=f"port {port} of rank 0's node is taken.*set MASTER_PORT"):
            check_free(port)
    check_free(port)
