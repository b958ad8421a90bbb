from types import SimpleNamespace

import pytest
import torch


def test_accelerator_implements_every_method(lightning, two_xpus):
    assert lightning.XPUAccelerator.__abstractmethods__ == frozenset()
    assert lightning.XPUAccelerator().name() == "xpu"
    assert isinstance(lightning.XPUAccelerator(), lightning.pl.accelerators.Accelerator)


def test_trainer_explains_missing_gpu(lightning, no_xpu):
    assert not lightning.XPUAccelerator.is_available()
    assert lightning.XPUAccelerator.auto_device_count() == 0
    misconfiguration = lightning.XPUAccelerator.misconfiguration
    for strategy in ("auto", "single_xpu"):
        with pytest.raises(misconfiguration, match=r"is not available: torch .*accelerator=.cpu."):
            lightning.pl.Trainer(accelerator="xpu", devices=1, strategy=strategy)


def test_torch_xpu_module_alone_is_not_a_gpu(lightning):
    assert hasattr(torch, "xpu")
    assert lightning.XPUAccelerator.is_available() == (
        torch.xpu.is_available() and torch.xpu.device_count() > 0
    )


def test_accelerator_parses_devices(lightning, two_xpus):
    cls = lightning.XPUAccelerator
    assert cls.is_available()
    assert cls.auto_device_count() == 2
    assert cls.parse_devices("auto") == [0, 1]
    assert cls.get_parallel_devices(cls.parse_devices("1,")) == [torch.device("xpu", 1)]
    with pytest.raises(cls.misconfiguration, match="selects Intel GPU 2, but torch finds 2"):
        cls.parse_devices([2])
    with pytest.raises(TypeError, match="got None"):
        cls.parse_devices(None)


def test_setup_device_and_teardown_call_torch(lightning, two_xpus):
    accelerator = lightning.XPUAccelerator()
    accelerator.setup_device(torch.device("xpu", 1))
    accelerator.teardown()
    assert two_xpus.calls == [("set_device", "xpu:1"), ("empty_cache",)]


def test_setup_device_rejects_other_device(lightning, two_xpus):
    accelerator = lightning.XPUAccelerator()
    with pytest.raises(accelerator.misconfiguration, match=r"got device 'cpu'.*strategy='single_xpu'"):
        accelerator.setup_device(torch.device("cpu"))
    with pytest.raises(accelerator.misconfiguration, match=r"Device 'xpu:2' does not exist. torch finds 2"):
        accelerator.setup_device(torch.device("xpu", 2))
    assert two_xpus.calls == []


def test_device_stats_report_memory(lightning, two_xpus):
    stats = lightning.XPUAccelerator().get_device_stats(torch.device("xpu", 0))
    assert list(stats.values()) == [1, 2, 3, 4, 6, 5]
    assert stats["xpu_memory_peak_allocated"] == 3
    assert stats["xpu_memory_free"] == 5
    two_xpus.knows_free_memory = False
    assert "xpu_memory_free" not in lightning.XPUAccelerator().get_device_stats(torch.device("xpu", 0))


@pytest.mark.filterwarnings("ignore:.*CUDA is not available.*")
def test_setup_moves_mixed_precision_to_xpu(lightning, two_xpus):
    mixed, accelerator = lightning.pl.plugins.MixedPrecision, lightning.XPUAccelerator()
    for precision, device, expected in (
        ("bf16-mixed", "cuda", "xpu"),
        ("16-mixed", "cuda", "xpu"),
        ("bf16-mixed", "xpu", "xpu"),
        ("bf16-mixed", "cpu", "cpu"),
    ):
        plugin = mixed(precision, device)
        accelerator.setup(SimpleNamespace(precision_plugin=plugin, strategy=None))
        assert plugin.device == expected
        if precision == "16-mixed":
            assert plugin.scaler._device == "xpu"
            assert plugin.scaler.is_enabled()
        else:
            assert plugin.scaler is None


def test_setup_rejects_ddp_of_lightning(lightning, two_xpus):
    accelerator = lightning.XPUAccelerator()
    trainer = lightning.pl.Trainer(accelerator="xpu", devices=2, strategy="ddp", logger=False)
    assert type(trainer.strategy) is lightning.DDPStrategy
    with pytest.raises(accelerator.misconfiguration, match=r"strategy='ddp_xpu'.* mml_xpu.enable_auto\(\)"):
        accelerator.setup(trainer)


def test_seed_everything_seeds_xpu(lightning, two_xpus):
    lightning.pl.seed_everything(5, verbose=False)
    assert ("manual_seed_all", 5) in two_xpus.calls
