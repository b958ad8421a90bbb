"""Calls that the older toolkit documents, as its users have them in their scripts."""

import subprocess
import sys

import pytest
import pytorch_lightning as pl
from matsciml.datasets.transforms import PeriodicPropertiesTransform, PointCloudToGraphTransform
from matsciml.lightning.callbacks import (
    GradientCheckCallback,
    LossScalingScheduler,
    ModelAutocorrelation,
    TrainingHelperCallback,
)
from matsciml.lightning.data_utils import MatSciMLDataModule
from matsciml.lightning.loss_scaling import LinearScalingSchedule
from matsciml.models import ForceRegressionTask, ScalarRegressionTask, SchNet
from mml_diagnostics.testing import read_wandb

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:The number of training batches"),
    pytest.mark.filterwarnings("ignore:Starting from v1.9.0, `tensorboardX`"),
]
SMALL = {"hidden_dim": 16, "output_dim": 16, "num_conv": 1, "num_gaussians": 8, "cutoff": 4.0}
QUIET = dict.fromkeys(
    ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
)


def data(**options):
    transforms = [PeriodicPropertiesTransform(4.0, adaptive_cutoff=True), PointCloudToGraphTransform("pyg")]
    dset_kwargs = {"transforms": transforms}
    return MatSciMLDataModule.from_devset("emt", batch_size=4, dset_kwargs=dset_kwargs, **options)


def task(kind=ForceRegressionTask, **options):
    return kind(encoder_class=SchNet, encoder_kwargs=SMALL, **options)


def test_an_accelerator_that_is_not_there_is_a_clear_error():
    code = 'import pytorch_lightning as pl; import matsciml; pl.Trainer(accelerator="xpu")'
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False
    )
    last = done.stderr.strip().splitlines()[-1]
    assert "MisconfigurationException" in last
    assert "invalid accelerator name" not in last


def test_a_strategy_without_launch_or_bindings_is_one_clear_error():
    from matsciml.lightning import ddp

    assert ddp.MPIDDPStrategy is not None
    with pytest.raises((ImportError, RuntimeError), match=r"oneccl|launcher|mpirun"):
        pl.Trainer(strategy="ddp_with_ccl", devices=4, num_nodes=4, accelerator="cpu")


def test_debugging_with_fast_dev_run():
    scheduler = LossScalingScheduler(
        LinearScalingSchedule("energy", initial_value=1.0, end_value=5.0, step_frequency="epoch")
    )
    model = task(task_loss_scaling={"energy": 1.0, "force": 10.0})
    pl.Trainer(fast_dev_run=10, callbacks=[scheduler], accelerator="cpu").fit(model, datamodule=data())


def test_diagnostics_log_histograms_to_weights_and_biases(tmp_path, monkeypatch):
    from pytorch_lightning.loggers import WandbLogger

    monkeypatch.setenv("WANDB_SILENT", "true")
    logger = WandbLogger(offline=True, save_dir=tmp_path)
    callbacks = [GradientCheckCallback(verbose=True), TrainingHelperCallback(), ModelAutocorrelation()]
    options = {**QUIET, "logger": logger, "max_epochs": 1, "limit_train_batches": 3, "limit_val_batches": 1}
    pl.Trainer(accelerator="cpu", callbacks=callbacks, **options).fit(task(), datamodule=data())
    logger.experiment.finish()
    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    logged = {key: value for row in read_wandb(file) for key, value in row.items() if isinstance(value, dict)}
    histograms = {key for key, value in logged.items() if value.get("_type") == "histogram"}
    assert histograms >= {
        "diagnostics/gradient_norms",
        "diagnostics/weight_norms",
        "diagnostics/system_embedding",
        "diagnostics/point_embedding",
    }


def test_normalisation_by_keyword_and_the_callbacks():
    model = task(
        ScalarRegressionTask, task_keys=["energy"], normalize_kwargs={"energy_mean": 0.0, "energy_std": 1.0}
    )
    callbacks = [GradientCheckCallback(verbose=True), TrainingHelperCallback()]
    options = {**QUIET, "max_epochs": 1, "limit_train_batches": 3, "limit_val_batches": 1}
    pl.Trainer(accelerator="cpu", callbacks=callbacks, **options).fit(model, datamodule=data())


@pytest.mark.filterwarnings("ignore:You requested to overfit")
def test_overfitting_some_batches():
    trainer = pl.Trainer(accelerator="cpu", overfit_batches=3, max_epochs=2, **QUIET)
    trainer.fit(task(), datamodule=data())
    assert trainer.global_step == 6
