import logging
import pickle
from importlib import import_module
from types import SimpleNamespace

import mml_xpu
import pytest
import torch
from mml_xpu import selection
from mml_xpu.selection import connector_class

QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}


@pytest.fixture(autouse=True)
def auto(lightning, monkeypatch):
    """Enable the automatic choices for one test."""
    monkeypatch.setattr(selection, "_enabled", False)
    monkeypatch.setattr(
        lightning.trainer_module, "_AcceleratorConnector", lightning.trainer_module._AcceleratorConnector
    )
    mml_xpu.enable_auto()


@pytest.fixture
def no_other_gpu(lightning, monkeypatch):
    """Hide the CUDA, MPS and TPU devices of the machine."""
    for name in ("CUDAAccelerator", "MPSAccelerator", "XLAAccelerator"):
        monkeypatch.setattr(
            getattr(lightning.pl.accelerators, name), "is_available", staticmethod(lambda: False)
        )
        fabric = import_module(
            "lightning.fabric.accelerators"
            if lightning.pl.__name__.startswith("lightning.")
            else "lightning_fabric.accelerators"
        )
        monkeypatch.setattr(getattr(fabric, name), "is_available", staticmethod(lambda: False))
    monkeypatch.delenv(selection.OPT_OUT, raising=False)


def test_one_device_selects_single_xpu(lightning, two_xpus):
    for devices, index in ((1, 0), ([1], 1), ("1,", 1)):
        trainer = lightning.pl.Trainer(accelerator="xpu", devices=devices, **QUIET)
        assert type(trainer.strategy) is lightning.SingleXPUStrategy
        assert trainer.strategy.root_device == torch.device("xpu", index)
    named = lightning.pl.Trainer(accelerator="xpu", devices=[1], strategy="single_device", **QUIET)
    assert named.strategy.root_device == torch.device("xpu", 1)


@pytest.mark.parametrize("strategy", ["auto", "ddp"])
@pytest.mark.parametrize("devices", [2, "auto", -1, [0, 1]])
def test_several_devices_select_ddp_xpu(lightning, two_xpus, strategy, devices):
    trainer = lightning.pl.Trainer(accelerator="xpu", devices=devices, strategy=strategy, **QUIET)
    assert type(trainer.strategy) is lightning.DDPXPUStrategy
    assert trainer.strategy.parallel_devices == [torch.device("xpu", 0), torch.device("xpu", 1)]


def test_ddp_variants_keep_their_arguments(lightning, two_xpus):
    trainer = lightning.pl.Trainer(
        accelerator="xpu", devices=2, strategy="ddp_find_unused_parameters_true", **QUIET
    )
    assert type(trainer.strategy) is lightning.DDPXPUStrategy
    assert trainer.strategy._ddp_kwargs == {"find_unused_parameters": True}
    spawned = lightning.pl.Trainer(accelerator="xpu", devices=2, strategy="ddp_spawn", **QUIET)
    assert spawned.strategy._start_method == "spawn"


@pytest.mark.parametrize("strategy", ["ddp_fork", "ddp_notebook"])
def test_forking_strategies_are_rejected(lightning, two_xpus, strategy):
    with pytest.raises(lightning.MisconfigurationException, match="does not survive a fork"):
        lightning.pl.Trainer(accelerator="xpu", devices=2, strategy=strategy, **QUIET)


def test_ddp_instances_are_checked(lightning, two_xpus):
    with pytest.raises(lightning.MisconfigurationException, match=r"mml_xpu.DDPXPUStrategy\("):
        lightning.pl.Trainer(accelerator="xpu", devices=2, strategy=lightning.DDPStrategy(), **QUIET)
    ours = lightning.DDPXPUStrategy(find_unused_parameters=True)
    assert lightning.pl.Trainer(accelerator="xpu", devices=2, strategy=ours, **QUIET).strategy is ours


@pytest.mark.parametrize("name", ["auto", "gpu"])
def test_auto_and_gpu_find_xpu(lightning, two_xpus, no_other_gpu, name):
    trainer = lightning.pl.Trainer(accelerator=name, devices=1, **QUIET)
    assert isinstance(trainer.accelerator, lightning.XPUAccelerator)
    assert type(trainer.strategy) is lightning.SingleXPUStrategy


def test_auto_and_gpu_stay_lightnings(lightning, no_other_gpu, monkeypatch, stand_in):
    cpu, pl = lightning.pl.accelerators.CPUAccelerator, lightning.pl
    for count, opt_out in ((0, None), (2, "0"), (2, " Off ")):
        monkeypatch.setattr(torch, "xpu", stand_in.XPUStandIn(count))
        if opt_out is not None:
            monkeypatch.setenv(selection.OPT_OUT, opt_out)
        trainer = pl.Trainer(accelerator="auto", devices=1, **QUIET)
        assert isinstance(trainer.accelerator, cpu)
        assert type(trainer.strategy) is lightning.SingleDeviceStrategy
        with pytest.raises(lightning.MisconfigurationException, match="No supported gpu backend"):
            pl.Trainer(accelerator="gpu", devices=1, **QUIET)


def test_auto_ignores_xpu_of_other_package(lightning, two_xpus, no_other_gpu, monkeypatch):
    monkeypatch.setitem(lightning.AcceleratorRegistry["xpu"], "accelerator", type("Theirs", (), {}))
    trainer = lightning.pl.Trainer(accelerator="auto", devices=1, **QUIET)
    assert isinstance(trainer.accelerator, lightning.pl.accelerators.CPUAccelerator)


def test_cpu_choices_are_unchanged(lightning, two_xpus):
    one = lightning.pl.Trainer(accelerator="cpu", devices=1, precision="bf16-mixed", **QUIET)
    assert type(one.strategy) is lightning.SingleDeviceStrategy
    assert one.precision_plugin.device == "cpu"
    two = lightning.pl.Trainer(accelerator="cpu", devices=2, strategy="ddp", **QUIET)
    assert type(two.strategy) is lightning.DDPStrategy


def test_mixed_precision_uses_xpu(lightning, two_xpus):
    for devices in (1, 2):
        bf16 = lightning.pl.Trainer(accelerator="xpu", devices=devices, precision="bf16-mixed", **QUIET)
        assert (bf16.precision_plugin.device, bf16.precision_plugin.scaler) == ("xpu", None)
        fp16 = lightning.pl.Trainer(accelerator="xpu", devices=devices, precision="16-mixed", **QUIET)
        assert fp16.precision_plugin.device == fp16.precision_plugin.scaler._device == "xpu"
        assert fp16.precision_plugin.scaler.is_enabled()
    given = lightning.MixedPrecision("bf16-mixed", "cpu")
    assert (
        lightning.pl.Trainer(accelerator="xpu", devices=1, plugins=given, **QUIET).precision_plugin is given
    )


def test_install_is_idempotent(lightning):
    connector = lightning.trainer_module._AcceleratorConnector
    assert connector is lightning.classes.XPUConnector
    mml_xpu.enable_auto()
    assert lightning.trainer_module._AcceleratorConnector is connector


def test_enable_auto_warns_about_unknown_lightning(monkeypatch, caplog):
    unknown = SimpleNamespace(trainer_module=SimpleNamespace(), __name__="unknown")
    unknown.XPUConnector = connector_class(unknown)
    monkeypatch.setattr(selection, "_lightnings", [unknown])
    with caplog.at_level(logging.WARNING):
        mml_xpu.enable_auto()
    assert "strategy='single_xpu'" in caplog.text
    assert vars(unknown.trainer_module) == {}


def test_enable_auto_covers_later_lightnings(monkeypatch):
    def make_lightning():
        theirs = SimpleNamespace(_AcceleratorConnector=type("Connector", (), {}))
        ours = SimpleNamespace(trainer_module=theirs, __name__="later")
        ours.XPUConnector = connector_class(ours)
        return ours

    monkeypatch.setattr(selection, "_lightnings", [])
    later, disabled = make_lightning(), make_lightning()
    selection.add(later)
    assert later.trainer_module._AcceleratorConnector is later.XPUConnector
    monkeypatch.setattr(selection, "_enabled", False)
    selection.add(disabled)
    assert disabled.trainer_module._AcceleratorConnector is not disabled.XPUConnector
    mml_xpu.enable_auto()
    assert disabled.trainer_module._AcceleratorConnector is disabled.XPUConnector


def test_trainer_with_spawn_can_be_pickled(lightning):
    """Lightning's `ddp_spawn` pickles the Trainer, which has a reference to the connector."""
    trainer = lightning.pl.Trainer(accelerator="cpu", devices=2, strategy="ddp_spawn", **QUIET)
    again = pickle.loads(pickle.dumps(trainer))
    assert type(again._accelerator_connector) is lightning.classes.XPUConnector
