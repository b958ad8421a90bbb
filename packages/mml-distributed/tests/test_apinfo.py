"""Files that ctypes writes by the C declarations of pals.h. A real file was not available."""

import ctypes
import logging

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mml_distributed.apinfo import Application, parse, read_application
from mml_distributed.launch import PALS
from mml_distributed.launchers import read_launch
from mml_distributed.rendezvous import derive_port, rendezvous


class Header(ctypes.Structure):
    _fields_ = [
        ("version", ctypes.c_int),
        *[(name, ctypes.c_size_t) for name in ("total_size", "comm_profile_size", "comm_profile_offset")],
        ("ncomm_profiles", ctypes.c_int),
        *[(name, ctypes.c_size_t) for name in ("cmd_size", "cmd_offset")],
        ("ncmds", ctypes.c_int),
        *[(name, ctypes.c_size_t) for name in ("pe_size", "pe_offset")],
        ("npes", ctypes.c_int),
        *[(name, ctypes.c_size_t) for name in ("node_size", "node_offset")],
        ("nnodes", ctypes.c_int),
        *[(name, ctypes.c_size_t) for name in ("nic_size", "nic_offset")],
        ("nnics", ctypes.c_int),
        *[(name, ctypes.c_size_t) for name in ("status_offset", "dist_size", "dist_offset")],
    ]


class Process(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in ("localidx", "cmdidx", "nodeidx")]


class Node(ctypes.Structure):
    _fields_ = [("nid", ctypes.c_int), ("hostname", ctypes.c_char * 64)]


def write(nodes, hosts, more=0):
    """Return a file whose records have `more` extra bytes, as in a later version of the format."""
    seen = [0] * len(hosts)
    processes = b""
    for node in nodes:
        processes += bytes(Process(seen[node], 0, node)) + b"\7" * more
        seen[node] += 1
    names = b"".join(bytes(Node(100 + i, host.encode())) + b"\7" * more for i, host in enumerate(hosts))
    header = Header(
        version=5,
        pe_size=ctypes.sizeof(Process) + more,
        pe_offset=ctypes.sizeof(Header),
        npes=len(nodes),
        node_size=ctypes.sizeof(Node) + more,
        node_offset=ctypes.sizeof(Header) + len(processes),
        nnodes=len(hosts),
    )
    return bytes(header) + processes + names


@given(nodes=st.lists(st.integers(0, 3), min_size=1, max_size=20), more=st.integers(0, 9))
def test_parse_reads_layout_of_c(nodes, more):
    hosts = ("x1000c0s0b0n0", "n1", "n2", "n" * 63)
    application = parse(write(nodes, hosts, more))
    assert application.nodes == tuple(nodes)
    assert application.hosts == hosts
    assert [application.host(rank) for rank in range(len(nodes))] == [hosts[node] for node in nodes]
    assert application.local_ranks == tuple(nodes[:rank].count(node) for rank, node in enumerate(nodes))


def test_read_launch_uses_apinfo_of_pals(tmp_path):
    """On Aurora, `mpiexec --pmi=pmix` sets no variable with the number of ranks."""
    file = tmp_path / "apinfo"
    file.write_bytes(write([0, 1, 0, 1, 1], ["x1000", "x1001"]))
    for rank, (local, node) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1), (2, 1)]):
        env = {"PALS_RANKID": rank, "PALS_LOCAL_RANKID": local, "PALS_NODEID": node, "PALS_APINFO": file}
        env |= {"PALS_APID": "6d1f0c5e", "PMIX_RANK": rank, "PMIX_NAMESPACE": "6d1f0c5e"}
        for more in ({}, {"PALS_LOCAL_SIZE": "23"[node]}):
            launch = read_launch({name: str(value) for name, value in {**env, **more}.items()}, ["palsd"])
            assert (launch.launcher, launch.rank, launch.size) == (PALS, rank, 5)
            assert (launch.local_rank, launch.local_size, launch.node_rank) == (local, (2, 3)[node], node)
            assert (launch.host, launch.first_host) == (f"x100{node}", "x1000")
            assert rendezvous(launch, {}) == ("x1000", derive_port("6d1f0c5e"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=300), length=st.integers(0, 400))
def test_read_application_warns_about_any_bytes(tmp_path, data, length):
    place = {"PALS_RANKID": "1", "PALS_LOCAL_RANKID": "1", "PALS_NODEID": "0"}
    file = tmp_path / "apinfo"
    complete = write([0, 0], ["n0"])
    for content in (data, complete[:length]):
        file.write_bytes(content)
        found = read_application({**place, "PALS_APINFO": str(file)})
        assert found == (parse(complete) if content == complete else None)


def test_read_application_ignores_contradicting_file(tmp_path, caplog):
    file = tmp_path / "apinfo"
    file.write_bytes(write([0, 1, 0, 1], ["n0", "n1"]))
    env = {"PALS_APINFO": str(file), "PALS_RANKID": "2", "PALS_LOCAL_RANKID": "1", "PALS_NODEID": "0"}
    assert read_application(env) == Application((0, 0, 1, 1), (0, 1, 0, 1), ("n0", "n1"))
    assert read_application({}) is None
    assert caplog.text == ""
    with caplog.at_level(logging.WARNING):
        for change in ({"PALS_NODEID": "1"}, {"PALS_RANKID": "9"}, {"PALS_APINFO": str(tmp_path / "none")}):
            assert read_application({**env, **change}) is None
    assert len(caplog.records) == 3


def test_parse_rejects_unknown_node():
    good = write([0, 1], ["n0", "n1"])
    nodes = Header.nnodes.offset
    for bad in (write([0, 1], ["n0", ""]), good[:nodes] + b"\1" + good[nodes + 1 :]):
        with pytest.raises(ValueError, match="a node has no name, or a process is on an unknown node"):
            parse(bad)
