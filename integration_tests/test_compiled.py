"""Compiled encoders predict and train energies. They are refused if second derivatives are needed."""

from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from mml_data import MatSciMLDataModule
from mml_graphs import PeriodicPropertiesTransform, PointCloudToGraphTransform
from mml_models import EGNN, SchNet
from mml_tasks import ForceRegressionTask

# Dynamo reads the .grad of the strained positions, which are not a leaf tensor.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")


def data() -> MatSciMLDataModule:
    transforms = [PeriodicPropertiesTransform(5.0), PointCloudToGraphTransform("pyg")]
    return MatSciMLDataModule(dataset="emt", batch_size=8, transforms=transforms)


def make_task(encoder: Any, **options: Any) -> ForceRegressionTask:
    torch.manual_seed(0)
    size = {"hidden_dim": 8, "output_dim": 8, "num_conv": 1, "cutoff": 5.0}
    defaults: dict[str, Any] = {"normalize_kwargs": {"force_std": 1.0}, "lr": 0.01}
    return ForceRegressionTask(encoder_class=encoder, encoder_kwargs=size, **{**defaults, **options})


def fit(task: Any, folder: Any, **options: Any) -> pl.Trainer:
    limits = {"limit_train_batches": 2, "limit_val_batches": 1, "max_epochs": 1, "logger": False}
    limits["enable_checkpointing"] = False
    trainer = pl.Trainer(accelerator="cpu", default_root_dir=folder, **{**limits, **options})
    trainer.fit(task, data())
    return trainer


@pytest.mark.parametrize("encoder", [SchNet, EGNN])
def test_compiled_encoder_refuses_force_training(encoder, tmp_path):
    task = make_task(encoder)
    task.encoder.compile(backend="eager")
    with pytest.raises(
        ValueError, match="encoder is compiled, but a loss of forces needs second derivatives"
    ):
        fit(task, tmp_path)
    batch = next(iter(data().train_dataloader()))
    expected, found = make_task(encoder).predict(batch), task.predict(batch)
    for name in ("energy", "force"):
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-5)


def test_compiled_encoder_trains_energies(tmp_path):
    plain, compiled = (make_task(SchNet, task_keys=["energy"]) for _ in range(2))
    compiled.encoder = torch.compile(compiled.encoder, backend="eager")
    fit(plain, tmp_path)
    trainer = fit(compiled, tmp_path)
    for (name, expected), value in zip(plain.named_parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-3, atol=1e-5, msg=name)
    trainer.save_checkpoint(tmp_path / "compiled.ckpt")
    assert not any("_orig_mod" in n for n in torch.load(tmp_path / "compiled.ckpt")["state_dict"])
    loaded = ForceRegressionTask.load_from_checkpoint(tmp_path / "compiled.ckpt")
    batch = next(iter(data().train_dataloader()))
    for name, value in compiled.predict(batch).items():
        if name in ("energy", "force"):
            torch.testing.assert_close(loaded.predict(batch)[name], value, rtol=1e-5, atol=1e-6)
