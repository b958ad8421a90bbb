import sys
from types import ModuleType

import pytest
from mml_distributed._optional import import_oneccl


def test_without_the_bindings_command_and_alternative_are_given(lightning, launched, alone, monkeypatch):
    launched(alone)
    monkeypatch.setitem(sys.modules, "oneccl_bindings_for_pytorch", None)
    for make in (
        import_oneccl,
        lambda: lightning.StrategyRegistry.get("ddp_with_ccl"),
        lambda: lightning.MPIDDPStrategy(process_group_backend="ccl"),
    ):
        with pytest.raises(ImportError, match=r"pip install oneccl_bind_pt .*or use strategy='ddp_with_xpu'"):
            make()


def test_with_the_bindings_backend_ccl_is_taken(lightning, launched, alone, monkeypatch):
    """The bindings are an empty module here: oneCCL itself is not exercised."""
    launched(alone)
    monkeypatch.setitem(sys.modules, "oneccl_bindings_for_pytorch", ModuleType("oneccl_bindings_for_pytorch"))
    assert lightning.StrategyRegistry.get("ddp_with_ccl").process_group_backend == "ccl"
