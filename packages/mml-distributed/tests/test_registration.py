import logging
from types import SimpleNamespace

import mml_distributed
from mml_distributed.registration import STRATEGIES, register_classes


def test_importing_registers_once_however_often(lightning, caplog):
    for _ in range(2):
        mml_distributed.register()
    assert set(STRATEGIES) == {"ddp_with_mpi", "ddp_with_ccl", "ddp_with_xpu"}
    for name in STRATEGIES:
        assert lightning.StrategyRegistry[name]["strategy"] is lightning.MPIDDPStrategy
    assert caplog.text == ""


def test_a_taken_name_is_left_alone_and_said(lightning, caplog):
    registry = type(lightning.StrategyRegistry)()
    theirs = type("TheirStrategy", (), {})
    registry.register("ddp_with_mpi", theirs)
    with caplog.at_level(logging.WARNING):
        register_classes(SimpleNamespace(StrategyRegistry=registry, MPIDDPStrategy=lightning.MPIDDPStrategy))
    assert registry["ddp_with_mpi"]["strategy"] is theirs
    assert "'ddp_with_mpi' is already registered by" in caplog.text
    assert "TheirStrategy" in caplog.text
    assert registry["ddp_with_xpu"]["strategy"] is lightning.MPIDDPStrategy


def test_public_names_are_those_of_the_preferred_lightning():
    from mml_distributed._lightning import class_modules

    assert mml_distributed.MPIEnvironment is class_modules()[0].MPIEnvironment
    assert mml_distributed.MPIDDPStrategy is class_modules()[0].MPIDDPStrategy
