import json
import os
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest

RECORDED = json.loads(Path(__file__).with_name("recorded_environments.json").read_text())["launches"]
PREFIXES = (
    "OMPI_",
    "PMI_",
    "PMIX_",
    "PALS_",
    "SLURM",
    "HYDRA_",
    "I_MPI_",
    "MPI_LOCAL",
    "MASTER_",
    "NODE_RANK",
)


@pytest.fixture
def recorded():
    """Return the environments of real launches, and of two composed ones. See recorded_environments.json."""
    return RECORDED


@pytest.fixture
def launched(monkeypatch):
    """Make this process look like a rank of a launcher. Undo the changes of MPIEnvironment afterwards."""
    from mml_distributed import abort, rendezvous

    # Restored at the end, whatever a test or a process group start puts there.
    monkeypatch.setattr(os, "environ", os.environ.copy())
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(sys, "exit", sys.exit)
    monkeypatch.setattr(abort, "_abort", None)
    monkeypatch.setattr(abort, "_exit_code", None)
    monkeypatch.setattr(abort.atexit, "register", lambda call: call)
    monkeypatch.setattr(rendezvous, "_told", None)

    def launch(env):
        for name in list(os.environ):
            if name.startswith(PREFIXES):
                monkeypatch.delenv(name)
        for name, value in env.items():
            monkeypatch.setenv(name, value)

    launch({})
    return launch


@pytest.fixture
def alone():
    """Return the environment of a launch with one rank, for a Trainer that starts no process group."""
    place = {"PMI_RANK": "0", "PMI_SIZE": "1", "MPI_LOCALRANKID": "0", "MPI_LOCALNRANKS": "1"}
    return place | {"MASTER_PORT": "29511"}


def pytest_generate_tests(metafunc):
    """Parametrize the fixture `lightning` by the installed Lightning packages."""
    if "lightning" in metafunc.fixturenames:
        from mml_distributed._lightning import installed

        metafunc.parametrize("lightning", installed(), indirect=True)
    if "recording" in metafunc.fixturenames:
        metafunc.parametrize("recording", RECORDED.values(), ids=RECORDED)


@pytest.fixture
def lightning(request):
    classes = import_module(f"mml_distributed.for_{request.param}")
    pl = import_module("lightning.pytorch" if request.param == "lightning" else request.param)
    return SimpleNamespace(
        pl=pl, classes=classes, **{name: getattr(classes, name) for name in classes.__all__}
    )
