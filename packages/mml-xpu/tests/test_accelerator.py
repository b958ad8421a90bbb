from types import SimpleNamespace

import pytest
import torch


def test_nothing_abstract_is_left(lightning, two_xpus):
    assert lightning.XPUAccelerator.__abstractmethods__ == frozenset()
    assert lightning.XPUAccelerator().name() == "xpu"
    assert isinstance(lightning.XPUAccelerator(), lightning.pl.accelerators.Accelerator)


def test_without_a_gpu_it_is_not_available_and_trainer_says_why(lightning, no_xpu):
    assert not lightning.XPUAccelerator.is_available()
    assert lightning.XPUAccelerator.auto_device_count() == 0
    misconfiguration = lightning.XPUAccelerator.misconfiguration
    for strategy in ("auto", "single_xpu"):
        with pytest.raises(misconfiguration, match=r"no Intel GPU visible to torch.*--torch-backend=xpu"):
            lightning.pl.Trainer(accelerator="xpu", devices=1, strategy=strategy)


def test_the_xpu_module_of_this_torch_is_not_taken_for_a_gpu(lightning):
    assert hasattr(torch, "xpu")
    assert lightning.XPUAccelerator.is_available() == (
        torch.xpu.is_available() and torch.xpu.device_count() > 0
    )


def test_devices(lightning, two_xpus):
    cls = lightning.XPUAccelerator
    assert cls.is_available()
    assert cls.auto_device_count() == 2
    assert cls.parse_devices("auto") == [0, 1]
    assert cls.get_parallel_devices(cls.parse_devices("1,")) == [torch.device("xpu", 1)]
    with pytest.raises(cls.misconfiguration, match="asks for Intel GPU 2, but torch sees 2"):
        cls.parse_devices([2])
    with pytest.raises(TypeError, match="devices=None"):
        cls.parse_devices(None)


def test_setup_makes_the_device_current_and_teardown_frees(lightning, two_xpus):
    accelerator = lightning.XPUAccelerator()
    accelerator.setup_device(torch.device("xpu", 1))
    accelerator.teardown()
    assert two_xpus.calls == [("set_device", "xpu:1"), ("empty_cache",)]


def test_a_device_of_another_kind_is_refused(lightning, two_xpus):
    accelerator = lightning.XPUAccelerator()
    with pytest.raises(accelerator.misconfiguration, match=r"device 'cpu'.*leave the strategy out"):
        accelerator.setup_device(torch.device("cpu"))
    with pytest.raises(accelerator.misconfiguration, match="device 'xpu:2' does not exist: torch sees 2"):
        accelerator.setup_device(torch.device("xpu", 2))
    assert two_xpus.calls == []


def test_device_stats(lightning, two_xpus):
    stats = lightning.XPUAccelerator().get_device_stats(torch.device("xpu", 0))
    assert list(stats.values()) == [1, 2, 3, 4, 6, 5]
    assert stats["xpu_memory_peak_allocated"] == 3
    assert stats["xpu_memory_free"] == 5
    two_xpus.knows_free_memory = False
    assert "xpu_memory_free" not in lightning.XPUAccelerator().get_device_stats(torch.device("xpu", 0))


def test_mixed_precision_for_cuda_is_refused(lightning, two_xpus):
    mixed = lightning.pl.plugins.MixedPrecision
    accelerator = lightning.XPUAccelerator()
    for plugin in (mixed("bf16-mixed", "xpu"), mixed("bf16-mixed", "cpu"), lightning.pl.plugins.Precision()):
        accelerator.setup(SimpleNamespace(precision_plugin=plugin, strategy=None))
    with pytest.raises(accelerator.misconfiguration, match=r"pass Trainer\(precision='bf16-mixed'\)"):
        accelerator.setup(SimpleNamespace(precision_plugin=mixed("bf16-mixed", "cuda")))


def test_seed_everything_seeds_the_xpu(lightning, two_xpus):
    lightning.pl.seed_everything(5, verbose=False)
    assert ("manual_seed_all", 5) in two_xpus.calls
