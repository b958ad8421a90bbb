import logging
import subprocess
import sys
from importlib import import_module
from types import SimpleNamespace

import mml_distributed
import pytest
from mml_distributed._lightning import installed
from mml_distributed.registration import STRATEGIES, register_classes


def test_register_is_idempotent(lightning, caplog):
    for _ in range(2):
        mml_distributed.register()
    assert set(STRATEGIES) == {"ddp_with_mpi", "ddp_with_ccl", "ddp_with_xpu"}
    for name in STRATEGIES:
        assert lightning.StrategyRegistry[name]["strategy"] is lightning.MPIDDPStrategy
    assert caplog.text == ""


def test_register_keeps_taken_name(lightning, caplog):
    registry = type(lightning.StrategyRegistry)()
    theirs = type("TheirStrategy", (), {})
    registry.register("ddp_with_mpi", theirs)
    with caplog.at_level(logging.WARNING):
        register_classes(SimpleNamespace(StrategyRegistry=registry, MPIDDPStrategy=lightning.MPIDDPStrategy))
    assert registry["ddp_with_mpi"]["strategy"] is theirs
    assert "'ddp_with_mpi' is already registered by" in caplog.text
    assert "TheirStrategy" in caplog.text
    assert registry["ddp_with_xpu"]["strategy"] is lightning.MPIDDPStrategy


def test_public_names_belong_to_preferred_lightning():
    preferred = import_module(f"mml_distributed.for_{installed()[0]}")
    assert mml_distributed.MPIEnvironment is preferred.MPIEnvironment
    assert mml_distributed.MPIDDPStrategy is preferred.MPIDDPStrategy
    with pytest.raises(AttributeError, match="has no attribute 'DDPStrategy'"):
        mml_distributed.DDPStrategy  # noqa: B018


def test_import_of_package_waits_for_lightning():
    code = """
import sys
import mml_distributed
assert not {"torch", "pytorch_lightning", "lightning", "lightning_fabric"} & set(sys.modules)
mml_distributed.MPIEnvironment
for name in ("pytorch_lightning", "lightning.pytorch"):
    if name in sys.modules:
        assert "ddp_with_mpi" in sys.modules[name + ".strategies"].StrategyRegistry
"""
    finished = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
