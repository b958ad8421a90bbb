import sys
from types import ModuleType

import pytest
from mml_distributed._optional import import_oneccl


def test_import_oneccl_names_command_and_alternative(lightning, launched, alone, monkeypatch):
    launched(alone)
    monkeypatch.setitem(sys.modules, "oneccl_bindings_for_pytorch", None)
    for make in (
        import_oneccl,
        lambda: lightning.StrategyRegistry.get("ddp_with_ccl"),
        lambda: lightning.MPIDDPStrategy(process_group_backend="ccl"),
    ):
        with pytest.raises(ImportError, match=r"pip install oneccl_bind_pt .*or use strategy='ddp_with_xpu'"):
            make()


def test_strategy_uses_ccl_with_bindings(lightning, launched, alone, monkeypatch):
    """The bindings are an empty module. oneCCL is not tested."""
    launched(alone)
    monkeypatch.setitem(sys.modules, "oneccl_bindings_for_pytorch", ModuleType("oneccl_bindings_for_pytorch"))
    assert lightning.StrategyRegistry.get("ddp_with_ccl").process_group_backend == "ccl"
