import logging
from importlib import import_module
from types import SimpleNamespace

import mml_xpu
import pytest
import torch
from mml_xpu._lightning import installed
from mml_xpu.registration import register_classes


def test_register_is_idempotent(lightning, caplog):
    for _ in range(2):
        mml_xpu.register()
    assert lightning.AcceleratorRegistry["xpu"]["accelerator"] is lightning.XPUAccelerator
    assert lightning.StrategyRegistry["single_xpu"]["strategy"] is lightning.SingleXPUStrategy
    assert lightning.StrategyRegistry["ddp_xpu"]["strategy"] is lightning.DDPXPUStrategy
    assert caplog.text == ""


def test_register_keeps_taken_name(lightning, caplog):
    accelerators = type(lightning.AcceleratorRegistry)()
    strategies = type(lightning.StrategyRegistry)()
    theirs = type("TheirAccelerator", (), {})
    accelerators.register("xpu", theirs)
    classes = SimpleNamespace(
        XPUAccelerator=lightning.XPUAccelerator,
        SingleXPUStrategy=lightning.SingleXPUStrategy,
        DDPXPUStrategy=lightning.DDPXPUStrategy,
        AcceleratorRegistry=accelerators,
        StrategyRegistry=strategies,
    )
    with caplog.at_level(logging.WARNING):
        register_classes(classes)
    assert accelerators["xpu"]["accelerator"] is theirs
    assert "'xpu' is already registered by" in caplog.text
    assert "TheirAccelerator" in caplog.text
    assert strategies["single_xpu"]["strategy"] is lightning.SingleXPUStrategy


def test_public_names_belong_to_preferred_lightning():
    preferred = import_module(f"mml_xpu.for_{installed()[0]}")
    for name in ("XPUAccelerator", "SingleXPUStrategy", "DDPXPUStrategy"):
        assert getattr(mml_xpu, name) is getattr(preferred, name)
    with pytest.raises(AttributeError, match="has no attribute 'CPUAccelerator'"):
        mml_xpu.CPUAccelerator  # noqa: B018


QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}


def test_registered_names_work_without_enable_auto(lightning, two_xpus):
    trainer_module = lightning.trainer_module
    assert trainer_module._AcceleratorConnector.__module__.startswith(lightning.pl.__name__)
    for devices, strategy, expected in (
        (1, "single_xpu", lightning.SingleXPUStrategy),
        (2, "ddp_xpu", lightning.DDPXPUStrategy),
        ("auto", "ddp_xpu", lightning.DDPXPUStrategy),
    ):
        trainer = lightning.pl.Trainer(accelerator="xpu", devices=devices, strategy=strategy, **QUIET)
        assert type(trainer.accelerator) is lightning.XPUAccelerator
        assert type(trainer.strategy) is expected
        assert trainer.strategy.root_device == torch.device("xpu", 0)


def test_automatic_strategy_names_the_remedy(lightning, two_xpus):
    trainer = lightning.pl.Trainer(accelerator="xpu", devices=1, **QUIET)
    with pytest.raises(lightning.MisconfigurationException, match=r"call mml_xpu.enable_auto"):
        trainer.strategy.setup_environment()
