"""mpi4py is replaced by a stand-in. test_mpiexec.py uses the real library."""

import sys
from types import SimpleNamespace

import pytest
from mml_distributed import mpi


def put_mpi4py(monkeypatch, initialized, finalized=False):
    module = SimpleNamespace(Is_initialized=lambda: initialized, Is_finalized=lambda: finalized)
    monkeypatch.setitem(sys.modules, "mpi4py.MPI", module)
    return module


@pytest.mark.parametrize(
    ("initialized", "finalized", "runs", "ran"),
    [(False, False, False, False), (True, False, True, True), (True, True, False, True)],
)
def test_initialized_reports_state_of_mpi(monkeypatch, initialized, finalized, runs, ran):
    module = put_mpi4py(monkeypatch, initialized, finalized)
    assert mpi.initialized() is (module if runs else None)
    assert mpi.was_initialized() == ran


def test_initialized_does_not_import_mpi4py(monkeypatch):
    monkeypatch.delitem(sys.modules, "mpi4py.MPI", raising=False)
    assert mpi.initialized() is None
    assert not mpi.was_initialized()
    assert "mpi4py.MPI" not in sys.modules


def test_initialize_accepts_missing_mpi4py(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py.MPI", None)
    assert mpi.initialize() is None


def test_nodes_are_numbered_by_lowest_rank():
    hosts = ["b", "a", "b", "c", "a"]
    world = SimpleNamespace(allgather=lambda host: hosts)
    numbers = [mpi.number_nodes(SimpleNamespace(COMM_WORLD=world), host, i) for i, host in enumerate(hosts)]
    assert numbers == [0, 1, 0, 2, 1]
