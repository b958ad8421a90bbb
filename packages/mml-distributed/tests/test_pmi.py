"""The PMI client, tested with a proxy that follows the protocol. test_mpiexec.py uses Hydra's proxy."""

import os
import socket
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mml_distributed import pmi
from mml_distributed.pmi import PMIError


class Proxy:
    """Proxy like Hydra's, with a thread for each rank, a key-value space and a barrier."""

    def __init__(self, ranks):
        self.pairs = [socket.socketpair() for _ in range(ranks)]
        self.space, self.said = {}, []
        self.barrier = threading.Barrier(ranks)
        for theirs, _ in self.pairs:
            threading.Thread(target=self.serve, args=(theirs,), daemon=True).start()

    def env(self, rank):
        return {"PMI_FD": str(self.pairs[rank][1].fileno())}

    def serve(self, connection):
        for line in connection.makefile():
            fields = dict(part.split("=", 1) for part in line.split())
            self.said.append(fields["cmd"])
            connection.sendall((self.answer(fields) + "\n").encode())

    def answer(self, fields):
        match fields["cmd"]:
            case "init":
                return "cmd=response_to_init pmi_version=1 pmi_subversion=1 rc=0"
            case "get_my_kvsname":
                return "cmd=my_kvsname kvsname=kvs_7_0"
            case "put":
                self.space[fields["kvsname"], fields["key"]] = fields["value"]
                return "cmd=put_result rc=0 msg=success"
            case "barrier_in":
                self.barrier.wait()
                return "cmd=barrier_out"
            case "get":
                value = self.space.get((fields["kvsname"], fields["key"]))
                return f"cmd=get_result rc=0 value={value}" if value else "cmd=get_result rc=-1"
            case "finalize":
                return "cmd=finalize_ack"

    def close(self):
        for pair in self.pairs:
            for end in pair:
                end.close()


@pytest.fixture
def proxy():
    proxies = []

    def start(ranks):
        proxies.append(Proxy(ranks))
        return proxies[-1]

    yield start
    for one in proxies:
        one.close()


def on_every_rank(hydra, ranks, do):
    """Return the result of `do(space, rank)` on each rank. The last rank starts first."""
    heard = {}
    threads = [
        threading.Thread(
            target=lambda rank=rank: heard.update({rank: do(pmi.Space(hydra.env(rank), 10), rank)})
        )
        for rank in reversed(range(ranks))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [heard[rank] for rank in range(ranks)]


def test_broadcast_reaches_every_rank(proxy):
    hydra = proxy(3)
    heard = on_every_rank(hydra, 3, lambda space, rank: pmi.broadcast(space, f"n{rank}:29500", rank))
    assert heard == ["n0:29500"] * 3
    assert "finalize" not in hydra.said
    pmi.finalize(hydra.env(0))
    assert hydra.said[-1] == "finalize"


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(nodes=st.lists(st.sampled_from(["b" * 63, "b" * 64, "a"]), min_size=1, max_size=5))
def test_number_nodes_orders_by_first_rank(proxy, nodes):
    hydra, ranks = proxy(len(nodes)), len(nodes)
    found = on_every_rank(hydra, ranks, lambda space, rank: pmi.number_nodes(space, nodes[rank], rank, ranks))
    assert found == [sorted(set(nodes), key=nodes.index).index(node) for node in nodes]
    assert all(len(key) <= 64 for _, key in hydra.space)


def test_barrier_times_out(proxy):
    with pytest.raises(
        PMIError, match=r"did not answer the PMI command 'barrier_in' within 0.2 s, because some ranks"
    ):
        pmi.broadcast(pmi.Space(proxy(2).env(0), 0.2), "n0:29500", 0)


def test_unexpected_answer_is_quoted(proxy):
    with pytest.raises(PMIError, match="returned 'cmd=get_result rc=-1' for the PMI command 'get kvsname="):
        pmi.broadcast(pmi.Space(proxy(1).env(0), 10), "nothing is put by a rank other than 0", 1)


def test_closed_connection_is_reported(proxy):
    hydra = proxy(1)
    hydra.pairs[0][0].shutdown(socket.SHUT_RDWR)
    with pytest.raises(PMIError, match=r"closed the connection|failed"):
        pmi.broadcast(pmi.Space(hydra.env(0), 10), "n0:29500", 0)


def test_has_pmi_rejects_invalid_descriptor(proxy, tmp_path):
    assert pmi.has_pmi(proxy(1).env(0))
    assert not pmi.has_pmi({})
    assert not pmi.has_pmi({"PMI_FD": "-1"})
    with (tmp_path / "file").open("w") as file:
        assert not pmi.has_pmi({"PMI_FD": str(file.fileno())})
    reading, writing = os.pipe()
    os.close(reading)
    os.close(writing)
    assert not pmi.has_pmi({"PMI_FD": str(writing)})
