"""Tasks train on DGL graphs as on PyG graphs."""

from __future__ import annotations

import importlib.util

import pytest
import pytorch_lightning as pl
import torch
from mml_data import MatSciMLDataModule
from mml_graphs import PeriodicPropertiesTransform, PointCloudToGraphTransform
from mml_models import SchNet
from mml_tasks import ForceRegressionTask, ScalarRegressionTask

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("dgl") is None,
        reason="dgl is not installed: it has wheels up to Python 3.11",
    ),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
]


def data(library):
    transforms = [PeriodicPropertiesTransform(4.0, adaptive_cutoff=True), PointCloudToGraphTransform(library)]
    return MatSciMLDataModule.from_devset("emt", batch_size=4, transforms=transforms)


def trained(library, make):
    pl.seed_everything(0, verbose=False)
    task = make(SchNet(hidden_dim=8, output_dim=8, num_conv=1, cutoff=4.0))
    quiet = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        limit_train_batches=3,
        limit_val_batches=2,
        **dict.fromkeys(quiet, False),
    )
    trainer.fit(task, datamodule=data(library))
    return task, {name: float(value) for name, value in trainer.callback_metrics.items()}


@pytest.mark.parametrize(
    "make",
    [
        lambda encoder: ForceRegressionTask(encoder, normalize_kwargs="auto", compute_stress=True, lr=0.01),
        lambda encoder: ScalarRegressionTask(encoder, task_keys=["energy"], normalize_kwargs="auto", lr=0.01),
    ],
    ids=["force", "scalar"],
)
def test_training_agrees_between_libraries(make):
    (pyg, of_pyg), (dgl, of_dgl) = trained("pyg", make), trained("dgl", make)
    assert of_dgl.keys() == of_pyg.keys()
    for name, value in of_pyg.items():
        assert of_dgl[name] == pytest.approx(value, rel=1e-3), name
    batches = [next(iter(data(library).val_dataloader())) for library in ("pyg", "dgl")]
    positions = batches[1]["graph"].ndata["pos"].clone()
    found, other = pyg.predict(batches[0]), dgl.predict(batches[1])
    for name in found.keys() - {"sample_id"}:
        torch.testing.assert_close(other[name], found[name], rtol=1e-3, atol=1e-3)
    assert torch.equal(batches[1]["graph"].ndata["pos"], positions)
    assert not batches[1]["graph"].ndata["pos"].requires_grad, "training must not change the caller's batch"
