"""Calls that the older toolkit documents, as they occur in scripts of its users."""

import os
import subprocess
import sys
from types import ModuleType

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


def test_missing_accelerator_raises():
    code = 'import pytorch_lightning as pl; import matsciml; pl.Trainer(accelerator="xpu")'
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False
    )
    last = done.stderr.strip().splitlines()[-1]
    assert "MisconfigurationException" in last
    assert "invalid accelerator name" not in last


BINDINGS = "oneccl_bindings_for_pytorch"
SIXTEEN_RANKS = f"""
import os, sys
from types import ModuleType

sys.modules["{BINDINGS}"] = ModuleType("{BINDINGS}")
import pytorch_lightning as pl
from matsciml.lightning import ddp

quiet = dict(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
for rank in range(16):
    node, local = rank % 4, rank // 4  # with -ppn 1, nodes take turns
    os.environ |= dict(  # as Intel MPI was recorded to set them
        PMI_RANK=str(rank), PMI_SIZE="16", MPI_LOCALRANKID=str(local), MPI_LOCALNRANKS="4", PMI_FD="9",
        HYDRA_BSTRAP_NODE_ID=str(node), HYDRA_BSTRAP_LOCALHOST="n" + str(node),
        I_MPI_HYDRA_UUID="57630000-ad60-47b9-f360-060039842632", MASTER_ADDR="n0",
    )
    trainer = pl.Trainer(strategy="ddp_with_ccl", devices=4, num_nodes=4, **quiet)
    assert isinstance(trainer.strategy, ddp.MPIDDPStrategy)
    assert trainer.strategy.process_group_backend == "ccl"
    places = (trainer.global_rank, trainer.local_rank, trainer.node_rank, trainer.world_size)
    assert places == (rank, local, node, 16), places
    assert trainer.strategy.distributed_sampler_kwargs == dict(num_replicas=16, rank=rank)
"""
OUTER = ("MASTER_", "LOCAL_RANK", "PMI", "OMPI_COMM", "SLURM", "PALS", "HYDRA", "MPI_LOCAL", "NODE_RANK")


def test_ccl_places_sixteen_ranks():
    """An empty module replaces the bindings, which are not available. No messages are sent."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(OUTER)}
    command = [sys.executable, "-W", "ignore", "-c", SIXTEEN_RANKS]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_ccl_names_missing_requirement(monkeypatch):
    from matsciml.lightning import ddp

    assert ddp.MPIDDPStrategy is not None
    for name in [name for name in os.environ if name.startswith(OUTER)]:
        monkeypatch.delenv(name)
    monkeypatch.setitem(sys.modules, BINDINGS, None)
    with pytest.raises(ImportError, match=f"'ccl' requires {BINDINGS}, which is not installed. Run pip"):
        pl.Trainer(strategy="ddp_with_ccl", devices=4, num_nodes=4, accelerator="cpu")
    monkeypatch.setitem(sys.modules, BINDINGS, ModuleType(BINDINGS))
    with pytest.raises(RuntimeError, match="No MPI launcher started this process"):
        pl.Trainer(strategy="ddp_with_ccl", devices=4, num_nodes=4, accelerator="cpu")


def test_fast_dev_run_ends():
    scheduler = LossScalingScheduler(
        LinearScalingSchedule("energy", initial_value=1.0, end_value=5.0, step_frequency="epoch")
    )
    model = task(task_loss_scaling={"energy": 1.0, "force": 10.0})
    pl.Trainer(fast_dev_run=10, callbacks=[scheduler], accelerator="cpu").fit(model, datamodule=data())


def test_diagnostics_log_histograms_to_wandb(tmp_path, monkeypatch):
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


def test_normalize_kwargs_train_with_callbacks():
    model = task(
        ScalarRegressionTask, task_keys=["energy"], normalize_kwargs={"energy_mean": 0.0, "energy_std": 1.0}
    )
    callbacks = [GradientCheckCallback(verbose=True), TrainingHelperCallback()]
    options = {**QUIET, "max_epochs": 1, "limit_train_batches": 3, "limit_val_batches": 1}
    pl.Trainer(accelerator="cpu", callbacks=callbacks, **options).fit(model, datamodule=data())


@pytest.mark.filterwarnings("ignore:You requested to overfit")
def test_overfit_batches_trains():
    trainer = pl.Trainer(accelerator="cpu", overfit_batches=3, max_epochs=2, **QUIET)
    trainer.fit(task(), datamodule=data())
    assert trainer.global_step == 6
