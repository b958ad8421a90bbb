"""One encoder is pretrained by denoising and tuned for forces, or trained on two data sets."""

from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from mml_data import MatSciMLDataModule
from mml_graphs import NoisyPositions, PeriodicPropertiesTransform, PointCloudToGraphTransform
from mml_tasks import (
    CrystalSymmetryClassificationTask,
    ForceRegressionTask,
    MultiTaskLitModule,
    NodeDenoisingTask,
    ScalarRegressionTask,
)

SCALE = 0.1
NOISE = NoisyPositions(SCALE, seed=0)
EDGES, GRAPHS = PeriodicPropertiesTransform(5.0, adaptive_cutoff=True), PointCloudToGraphTransform("pyg")


def encoder(name: str) -> dict[str, Any]:
    sizes = {"hidden_dim": 16, "output_dim": 16, "num_conv": 2, "cutoff": 5.0}
    return {"encoder_class": f"mml_models.{name}", "encoder_kwargs": sizes}


def make_data(name: str, *transforms: Any) -> MatSciMLDataModule:
    return MatSciMLDataModule(
        name, batch_size=16, val_split=0.1, seed=0, transforms=list(transforms) or [EDGES, GRAPHS]
    )


@pytest.fixture
def make_trainer(tmp_path):
    def make(**options: Any) -> pl.Trainer:
        quiet = dict.fromkeys(["logger", "enable_progress_bar", "enable_model_summary"], False)
        limits = {"limit_train_batches": 30, "limit_val_batches": 4, "max_epochs": 1}
        return pl.Trainer(
            accelerator="cpu",
            enable_checkpointing=False,
            default_root_dir=tmp_path,
            **(quiet | limits | options),
        )

    return make


@pytest.mark.slow
@pytest.mark.parametrize("name", ["EGNN", "SchNet"])
def test_denoising_encoder_is_tuned_for_forces(name, make_trainer, tmp_path):
    data = make_data("emt", EDGES, GRAPHS, NOISE)
    torch.manual_seed(0)
    task = NodeDenoisingTask(**encoder(name), lr=5e-3, normalize_kwargs={"denoise_std": SCALE})
    trainer = make_trainer(max_epochs=2)
    trainer.fit(task, data)
    assert trainer.callback_metrics["val_denoise_rmse"].item() < 0.9 * SCALE
    trainer.save_checkpoint(tmp_path / "noise.ckpt")

    tuned = ForceRegressionTask.from_pretrained_encoder(tmp_path / "noise.ckpt", normalize_kwargs="auto")
    assert tuned.pretrained_report is not None
    assert tuned.pretrained_report.complete
    for key, value in task.encoder.state_dict().items():
        assert torch.equal(tuned.encoder.state_dict()[key], value), key
    make_trainer(limit_train_batches=2).fit(tuned, make_data("emt"))
    assert not torch.equal(next(tuned.encoder.parameters()), next(task.encoder.parameters()))


def test_position_of_noise_is_irrelevant():
    torch.manual_seed(0)
    task = NodeDenoisingTask(**encoder("EGNN")).double()
    found = []
    for transforms in ((NOISE, EDGES, GRAPHS), (EDGES, NOISE, GRAPHS), (EDGES, GRAPHS, NOISE)):
        data = make_data("emt", *transforms)
        data.setup("validate")
        found.append(task.predict(next(iter(data.val_dataloader())))["denoise"])
    torch.testing.assert_close(found[1], found[0])
    torch.testing.assert_close(found[2], found[0])
    data = make_data("emt")
    data.setup("validate")
    assert not torch.allclose(task.predict(next(iter(data.val_dataloader())))["denoise"], found[0])


@pytest.mark.slow
def test_two_data_sets_train_together(make_trainer):
    torch.manual_seed(0)
    both = {"emt": make_data("emt"), "prototypes": make_data("prototypes")}
    train, val = {}, {}
    for name, data in both.items():
        data.setup("fit")
        train[name], val[name] = data.train_dataloader(), data.val_dataloader()
    module = MultiTaskLitModule(
        ("emt", ForceRegressionTask(**encoder("SchNet"), normalize_kwargs="auto", lr=3e-3)),
        (
            "prototypes",
            ScalarRegressionTask(**encoder("SchNet"), task_keys=["density"], normalize_kwargs="auto"),
        ),
        ("prototypes", CrystalSymmetryClassificationTask(**encoder("SchNet"), task_keys=["crystal_system"])),
        task_scaling={"prototypes/CrystalSymmetryClassificationTask": 0.5},
    )
    losses = []
    for epochs in (1, 2):
        trainer = make_trainer(max_epochs=epochs)
        trainer.fit(module, train, val)
        losses.append(trainer.callback_metrics["val_loss"].item())
    assert losses[1] < losses[0]
    metrics = trainer.callback_metrics
    assert metrics["prototypes/CrystalSymmetryClassificationTask/val_crystal_system_accuracy"] > 1 / 7
    assert {"emt/ForceRegressionTask/val_force_mae", "prototypes/ScalarRegressionTask/val_density_mae"} <= {
        *metrics
    }
    batch = {name: next(iter(loader)) for name, loader in val.items()}
    for name, outputs in module.predict(batch).items():
        assert outputs["sample_id"] == batch[name.split("/")[0]]["sample_id"]
