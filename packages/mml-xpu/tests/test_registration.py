import logging
from types import SimpleNamespace

import mml_xpu
from mml_xpu.registration import register_classes


def test_importing_registers_once_however_often(lightning, caplog):
    for _ in range(2):
        mml_xpu.register()
    assert lightning.AcceleratorRegistry["xpu"]["accelerator"] is lightning.XPUAccelerator
    assert lightning.StrategyRegistry["single_xpu"]["strategy"] is lightning.SingleXPUStrategy
    assert caplog.text == ""


def test_a_taken_name_is_left_alone_and_said(lightning, caplog):
    accelerators = type(lightning.AcceleratorRegistry)()
    strategies = type(lightning.StrategyRegistry)()
    theirs = type("TheirAccelerator", (), {})
    accelerators.register("xpu", theirs)
    classes = SimpleNamespace(
        XPUAccelerator=lightning.XPUAccelerator,
        SingleXPUStrategy=lightning.SingleXPUStrategy,
        AcceleratorRegistry=accelerators,
        StrategyRegistry=strategies,
    )
    with caplog.at_level(logging.WARNING):
        register_classes(classes)
    assert accelerators["xpu"]["accelerator"] is theirs
    assert "'xpu' is already registered by" in caplog.text
    assert "TheirAccelerator" in caplog.text
    assert strategies["single_xpu"]["strategy"] is lightning.SingleXPUStrategy


def test_public_names_are_those_of_the_preferred_lightning():
    from mml_xpu._lightning import class_modules

    assert mml_xpu.XPUAccelerator is class_modules()[0].XPUAccelerator
    assert mml_xpu.SingleXPUStrategy is class_modules()[0].SingleXPUStrategy
