"""Checks before the import of IPEX, and tests that require it (extra `ipex`, torch 2.8)."""

import copy
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version

import pytest
import torch
from mml_xpu import ipex


def has_ipex():
    try:
        ipex.check_installed()
    except ImportError:
        return False
    return True


needs_ipex = pytest.mark.skipif(not has_ipex(), reason="requires mml-xpu[ipex] in a separate environment")


def missing(name):
    raise PackageNotFoundError(name)


def test_strategy_names_install_command_without_ipex(lightning, monkeypatch):
    monkeypatch.setattr(ipex, "version", missing)
    with pytest.raises(ImportError, match=r"uv pip install 'mml-xpu\[ipex\]'"):
        lightning.SingleXPUStrategy(ipex_optimize=True)
    lightning.SingleXPUStrategy()


@pytest.mark.parametrize(
    ("found", "torch_version", "fits"),
    [
        ("2.8.0", "2.8.0+cu128", True),
        ("2.8.10+xpu", "2.8.1", True),
        ("2.8.0", "2.15.0", False),
        ("2.7.0", "2.8.0", False),
    ],
)
def test_check_installed_rejects_other_torch(monkeypatch, found, torch_version, fits):
    monkeypatch.setattr(ipex, "version", lambda name: found)
    monkeypatch.setattr(torch, "__version__", torch_version)
    if fits:
        ipex.check_installed()
        return
    with pytest.raises(ImportError, match=rf"{found} requires torch {found[:3]}, but torch {torch_version}"):
        ipex.check_installed()


@pytest.mark.parametrize("number", [0, 2])
def test_optimize_requires_one_optimizer(monkeypatch, number):
    monkeypatch.setattr(ipex, "check_installed", lambda: None)
    with pytest.raises(ValueError, match=f"exactly one optimizer, got {number}"):
        ipex.optimize(torch.nn.Linear(1, 1), [object()] * number)


@needs_ipex
def test_strategy_does_not_import_ipex():
    code = (
        "import sys, mml_xpu; mml_xpu.SingleXPUStrategy(ipex_optimize=True); "
        "sys.exit('intel_extension_for_pytorch' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-W", "ignore", "-c", code], timeout=240, check=False).returncode == 0
    )


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.SiLU(), torch.nn.Linear(32, 1))


def train(module, optimizer, autocast, steps=5):
    generator = torch.Generator().manual_seed(1)
    inputs, targets = torch.randn(64, 8, generator=generator), torch.randn(64, 1, generator=generator)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            prediction = module(inputs)
        loss = torch.nn.functional.mse_loss(prediction.float(), targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def changed_by_ipex(optimizer):
    return optimizer.step.__module__.startswith("intel_extension_for_pytorch")


@needs_ipex
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("optimizer_type", [torch.optim.SGD, torch.optim.Adam])
@pytest.mark.parametrize(("precision", "tolerance"), [("32-true", 1e-5), ("bf16-mixed", 3e-2)])
def test_training_steps_equal_plain_torch(optimizer_type, precision, tolerance):
    plain, optimized = network(), network()
    plain_optimizer = optimizer_type(plain.parameters(), lr=0.02)
    optimizer = optimizer_type(optimized.parameters(), lr=0.02)
    before = copy.deepcopy(optimized)
    ipex.optimize(optimized, [optimizer], precision)
    assert changed_by_ipex(optimizer)
    assert (type(optimized[0]) is torch.nn.Linear) == (precision == "32-true"), "weights are packed for bf16"
    losses = train(optimized, optimizer, precision != "32-true")
    assert losses == pytest.approx(train(plain, plain_optimizer, precision != "32-true"), rel=tolerance)
    assert losses[-1] < losses[0]
    state = optimized.state_dict()
    for name, value in plain.state_dict().items():
        assert state[name].dtype is torch.float32
        torch.testing.assert_close(state[name], value, rtol=tolerance, atol=tolerance)
    assert not torch.equal(state["0.weight"], before.state_dict()["0.weight"])


@needs_ipex
@pytest.mark.filterwarnings("ignore")
def test_fit_with_ipex_equals_fit_without(lightning, two_xpus, tmp_path):
    """On an accelerator whose devices are CPU devices."""
    pl = lightning.pl

    class Model(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.layers = network()
            self.losses = []

        def training_step(self, batch, batch_idx):
            loss = (self.layers(batch) - batch.sum(1, keepdim=True)).square().mean()
            self.losses.append(loss.item())
            return loss

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=0.02)

    def fit(strategy, epochs=3, ckpt_path=None):
        module = Model()
        options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        trainer = pl.Trainer(
            accelerator=lightning.CPUAsXPU(),
            devices=1,
            strategy=strategy,
            max_epochs=epochs,
            default_root_dir=tmp_path,
            **options,
        )
        data = torch.randn(32, 8, generator=torch.Generator().manual_seed(2))
        trainer.fit(module, torch.utils.data.DataLoader(data, batch_size=8), ckpt_path=ckpt_path)
        return module, trainer

    plain, _ = fit("single_xpu")
    optimized, trainer = fit(lightning.SingleXPUStrategy(ipex_optimize=True))
    assert changed_by_ipex(trainer.optimizers[0])
    assert optimized.losses == pytest.approx(plain.losses, rel=1e-4)
    trainer.save_checkpoint(tmp_path / "optimized.ckpt")
    longer, _ = fit("single_xpu", epochs=5)
    resumed, _ = fit(lightning.SingleXPUStrategy(ipex_optimize=True), 5, tmp_path / "optimized.ckpt")
    assert resumed.losses == pytest.approx(longer.losses[12:], rel=1e-3)
    on_the_cpu, _ = fit("single_xpu", 5, tmp_path / "optimized.ckpt")
    assert on_the_cpu.losses == pytest.approx(longer.losses[12:], rel=1e-3)


def test_version_is_read_from_distribution():
    assert ipex.version is installed_version
