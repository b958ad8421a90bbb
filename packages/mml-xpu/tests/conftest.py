import importlib.util
from pathlib import Path

import pytest
import torch

_spec = importlib.util.spec_from_file_location("xpu_stand_in", Path(__file__).with_name("xpu_stand_in.py"))
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)


@pytest.fixture
def stand_in():
    """Return the module xpu_stand_in.py."""
    return _module


@pytest.fixture
def two_xpus(monkeypatch):
    """Replace torch.xpu by a stand-in with two devices. See xpu_stand_in.py for its limits."""
    stand_in = _module.XPUStandIn(2)
    monkeypatch.setattr(torch, "xpu", stand_in)
    return stand_in


@pytest.fixture
def no_xpu(monkeypatch):
    """Hide the Intel GPUs of the machine."""
    stand_in = _module.XPUStandIn(0)
    monkeypatch.setattr(torch, "xpu", stand_in)
    return stand_in


def lightning_roots():
    from mml_xpu._lightning import installed

    return installed()


def pytest_generate_tests(metafunc):
    """Parametrize the fixture `lightning` by the installed Lightning packages."""
    if "lightning" in metafunc.fixturenames:
        metafunc.parametrize("lightning", lightning_roots(), indirect=True)


@pytest.fixture
def lightning(request, monkeypatch):
    """Return a Lightning and its classes of mml-xpu, with automatic selection disabled.

    Another test in this process may have enabled it, for example by importing matsciml.
    """
    from importlib import import_module
    from types import SimpleNamespace

    classes = import_module(f"mml_xpu.for_{request.param}")
    pl = import_module("lightning.pytorch" if request.param == "lightning" else request.param)
    connectors = import_module(f"{pl.__name__}.trainer.connectors.accelerator_connector")
    monkeypatch.setattr("mml_xpu.selection._enabled", False)
    monkeypatch.setattr(classes.trainer_module, "_AcceleratorConnector", connectors._AcceleratorConnector)
    cpu_as_xpu = type("CPUAsXPU", (_module.CPUDevices, classes.XPUAccelerator), {})
    return SimpleNamespace(
        pl=pl,
        CPUAsXPU=cpu_as_xpu,
        classes=classes,
        **{name: getattr(classes, name) for name in classes.__all__},
    )
