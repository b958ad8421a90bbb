"""Tests with each Lightning installed, and with none."""

import importlib.util
import subprocess
import sys

import pytest

HIDE = """
import sys

for name in HIDDEN:
    sys.modules[name] = None  # an import raises ModuleNotFoundError, find_spec returns None
"""

TRAIN = """
import sys
import torch
from lightning.pytorch import LightningModule, Trainer
import mml_diagnostics as d


class Module(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def training_step(self, batch, batch_idx):
        return self.layer(batch[0]).square().mean()

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.1)


def fit(**options):
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=sys.argv[1], **options,
    )
    module = Module()
    trainer.fit(module, torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x), batch_size=2))
    return module


x = torch.randn(8, 2)
assert d.diagnose(Module(), [x[:2]]).healthy
x[5, 0] = torch.nan
callbacks = [
    d.GradientCheckCallback(dump_dir=sys.argv[1] + "/dumps"), d.TrainingHelperCallback(update_freq=1),
    d.ThroughputCallback(), d.ModelAutocorrelation(buffer_size=5, analyze_every_n_steps=1),
    d.ForwardNaNDetection(), d.LossSpikeDetection(), d.UnusedParametersCallback(), d.MonitorGradients(),
]
fit(max_epochs=2, callbacks=callbacks)
assert not any(callback.switched_off for callback in callbacks)
assert callbacks[0].steps_non_finite == 2
assert callbacks[2].summary["batches"] > 3
assert set(callbacks[3].spectra) == {"parameters", "gradients", "updates"}
assert d.replay(sys.argv[1] + "/dumps/step-00000002-rank0.pt", Module()).bad_gradients == [
    "layer.weight", "layer.bias"
]

x = torch.randn(8, 2)
others = [d.SAM(rho=0.05), d.ManualGradientClip(1.0), d.GarbageCallback(2)]
averaged = d.ExponentialMovingAverageCallback(decay=0.5)
if "pytorch_lightning" not in sys.modules:
    others.append(averaged)
else:
    try:
        fit(max_epochs=1, callbacks=[averaged])
    except TypeError as error:
        assert "Use EMAWeightAveraging from lightning.pytorch.callbacks" in str(error)
    else:
        raise AssertionError("a module of another Lightning was taken")
module = fit(max_epochs=1, callbacks=others)
assert all(bool(p.isfinite().all()) for p in module.parameters())
print("pytorch_lightning" in sys.modules)
"""


def run(code, *arguments):
    command = [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)


def test_import_names_install_command():
    hidden = "HIDDEN = ('pytorch_lightning', 'lightning')\n"
    result = run(hidden + HIDE + "import mml_diagnostics\n")
    assert result.returncode == 1
    assert (
        "mml-diagnostics requires Lightning, which is not installed. Run: uv pip install pytorch-"
        in result.stderr.splitlines()[-1]
    )


def test_import_keeps_error_inside_lightning():
    result = run("HIDDEN = ('lightning_fabric',)\n" + HIDE + "import mml_diagnostics\n")
    assert "No module named 'lightning_fabric" in result.stderr.splitlines()[-1]


@pytest.mark.skipif(importlib.util.find_spec("lightning") is None, reason="needs the package lightning")
@pytest.mark.parametrize("hidden", [(), ("pytorch_lightning",)])
def test_callbacks_work_with_lightning_pytorch(hidden, tmp_path):
    result = run(f"HIDDEN = {hidden!r}\n" + HIDE + TRAIN, tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == str(not hidden)
    assert (tmp_path / "findings.json").exists()
