"""``val_loss`` has the same meaning in every epoch, even if the loss weights change during training."""

import csv
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from mml_data import LMDBDataset, MatSciMLDataModule, MultiDataModule, devset_path
from mml_graphs import PeriodicPropertiesTransform, PointCloudToGraphTransform
from mml_models import SchNet
from mml_tasks import (
    ForceRegressionTask,
    LinearScalingSchedule,
    LossScalingScheduler,
    MultiTaskLitModule,
    ScalarRegressionTask,
    SoftAdapt,
    UncertaintyWeighting,
)
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from torch.utils.data import Subset

ENCODER = {"hidden_dim": 16, "output_dim": 16, "num_conv": 2, "cutoff": 5.0}


TRANSFORMS = [
    PeriodicPropertiesTransform(5.0, adaptive_cutoff=True),
    PointCloudToGraphTransform("pyg"),
]


def data() -> MatSciMLDataModule:
    return MatSciMLDataModule(dataset="emt", batch_size=16, transforms=TRANSFORMS)


def task(**weights: float) -> ForceRegressionTask:
    torch.manual_seed(0)
    return ForceRegressionTask(
        encoder_class=SchNet,
        encoder_kwargs=ENCODER,
        normalize_kwargs="auto",
        task_loss_scaling=weights,
        lr=0.005,
    )


class Keep(pl.Callback):
    """Callback that records the weights of the model and the metrics of every validation."""

    def __init__(self) -> None:
        self.seen: list[tuple[dict[str, torch.Tensor], dict[str, float]]] = []

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if not trainer.sanity_checking:
            state = {name: value.clone() for name, value in pl_module.state_dict().items()}
            self.seen.append((state, {k: v.item() for k, v in trainer.callback_metrics.items()}))


def trainer(folder: Any, *callbacks: Any, **options: Any) -> pl.Trainer:
    defaults: dict[str, Any] = {"accelerator": "cpu", "max_epochs": 3, "logger": False}
    defaults |= {"limit_train_batches": 4, "limit_val_batches": 2, "num_sanity_val_steps": 0}
    return pl.Trainer(**{**defaults, **options}, callbacks=list(callbacks), default_root_dir=folder)


SCHEDULE = LinearScalingSchedule("energy", 1.0, 1000.0, step_frequency="epoch")


@pytest.mark.parametrize(
    ("make", "final"),
    [
        (lambda: LossScalingScheduler(SCHEDULE), {"energy": 1000.0}),
        (lambda: SoftAdapt(every_n_steps=2, beta=5.0), {}),
        (lambda: UncertaintyWeighting(keys=["energy", "force"]), {}),
    ],
)
def test_val_loss_uses_final_weights(make, final, tmp_path):
    keep, module = Keep(), data()
    best = ModelCheckpoint(tmp_path / "best", monitor="val_loss")
    stop = EarlyStopping("val_loss", patience=3)
    trainer(tmp_path, make(), keep, best, stop).fit(task(), module)
    found = []
    for state, metrics in keep.seen:
        plain = task(**final)
        plain.load_state_dict(state)
        result = trainer(tmp_path, enable_checkpointing=False).validate(plain, module, verbose=False)[0]
        assert metrics["val_loss"] == pytest.approx(result["val_loss"], rel=1e-5)
        found.append(metrics["val_loss"])
    assert best.best_model_score.item() == min(found)
    changes = [m["val_weighted_loss"] != m["val_loss"] for _, m in keep.seen if "val_weighted_loss" in m]
    assert any(changes) == (make().__class__ is not UncertaintyWeighting)
    assert "train_weighted_loss" in keep.seen[-1][1]


def test_data_set_without_batches_is_named(tmp_path, caplog):
    """Validation reads one data set after the other, so a limit of batches omits the last ones."""
    parts = {
        "emt": Subset(LMDBDataset(devset_path("emt"), transforms=TRANSFORMS), range(40)),
        "prototypes": Subset(LMDBDataset(devset_path("prototypes"), transforms=TRANSFORMS), range(8)),
    }
    both = MultiDataModule(16, train_dataset=parts, val_dataset=parts)
    module = MultiTaskLitModule(
        ("emt", task()),
        (
            "prototypes",
            ScalarRegressionTask(
                encoder_class=SchNet,
                encoder_kwargs=ENCODER,
                task_keys=["density"],
                normalize_kwargs={"density_mean": 8.0, "density_std": 4.0},
            ),
        ),
    )
    run = trainer(tmp_path, max_epochs=1, limit_val_batches=2, enable_checkpointing=False)
    run.fit(module, both)
    assert "val_loss does not include prototypes/ScalarRegressionTask" in caplog.text
    caplog.clear()
    trainer(tmp_path, max_epochs=1, limit_val_batches=3, enable_checkpointing=False).fit(module, both)
    assert "does not include" not in caplog.text


def test_steps_log_both_errors(tmp_path):
    run = trainer(tmp_path, max_epochs=1, log_every_n_steps=2, logger=CSVLogger(tmp_path))
    run.fit(task(), data())
    with (Path(run.logger.log_dir) / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["train_loss_step"]]
    names = ("train_loss_step", "train_energy_per_atom_mae_step", "train_force_mae_step")
    assert len(rows) == 2
    assert all(float(row[name]) > 0 for row in rows for name in names)
    assert set(names) <= run.progress_bar_metrics.keys()
