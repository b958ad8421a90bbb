"""Run many short fits one after the other on every rank of test_two_ranks.py, because starting ranks is slow.

    mpiexec -n RANKS python rank_matrix.py FOLDER SECONDS [NAME ...]

Each fit has the default progress bar, logger and checkpoints. Each rank writes the numbers that its fits
logged to FOLDER/RANK.json. If a fit takes longer than SECONDS, the rank ends with a traceback.
"""

import faulthandler
import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matsciml  # noqa: F401  registers the strategies
import mml_diagnostics as diagnostics
import mml_tasks as tasks
import pytorch_lightning as pl
import torch
import torchmetrics
from mml_data import LMDBDataset, MatSciMLDataModule, MultiDataModule, devset_path
from mml_graphs import NoisyPositions, PeriodicPropertiesTransform, PointCloudToGraphTransform
from pytorch_lightning.callbacks import TQDMProgressBar
from pytorch_lightning.loggers import CSVLogger
from torch.utils.data import Subset

ENCODER = {
    "encoder_class": "mml_models.SchNet",
    "encoder_kwargs": {"hidden_dim": 16, "output_dim": 16, "num_conv": 1, "cutoff": 4.0},
}
EDGES, GRAPHS = PeriodicPropertiesTransform(4.0, adaptive_cutoff=True), PointCloudToGraphTransform("pyg")
MATRIX: dict[str, Callable[[], tuple[pl.LightningModule, pl.LightningDataModule, list[pl.Callback]]]] = {}


def rank() -> int:
    return int(os.environ["PMI_RANK"])  # set by MPICH


def case(function: Any) -> Any:
    """Decorate a function that returns a module, its data and callbacks, and register it as a fit."""
    MATRIX[function.__name__] = function
    return function


def data(name: str = "emt", *first: Any) -> MatSciMLDataModule:
    return MatSciMLDataModule(name, batch_size=4, val_split=0.1, seed=0, transforms=[*first, EDGES, GRAPHS])


def both_sets(*first: Any) -> MultiDataModule:
    names = {"emt": first, "prototypes": ()}
    sets = {
        name: LMDBDataset(devset_path(name), transforms=[*some, EDGES, GRAPHS])
        for name, some in names.items()
    }
    # Validation reads one data set after the other. With few samples, one batch has samples of both.
    few = {name: Subset(part, range(8)) for name, part in sets.items()}
    return MultiDataModule(8, train_dataset=sets, val_dataset=few, seed=0)


def forces(**options: Any) -> tasks.ForceRegressionTask:
    return tasks.ForceRegressionTask(**ENCODER, **({"normalize_kwargs": "auto"} | options))


# ---------------------------------------------------------------- tasks


@case
def scalar_regression() -> Any:
    return tasks.ScalarRegressionTask(**ENCODER, task_keys=["density"]), data("prototypes"), []


@case
def force_regression() -> Any:
    return forces(), data(), []


@case
def force_regression_with_tqdm() -> Any:
    return forces(), data(), [TQDMProgressBar()]


@case
def grad_free_force_regression() -> Any:
    return tasks.GradFreeForceRegressionTask(**ENCODER), data(), []


class Dense(tasks.BinaryClassificationTask):
    """Task that predicts whether a structure is denser than 6 g/cm^3."""

    transform_keys = frozenset({"dense"})


def add_dense(sample: dict[str, Any]) -> dict[str, Any]:
    dense = (sample["targets"]["density"] > 6).long()
    return sample | {"targets": sample["targets"] | {"dense": dense}}


@case
def binary_classification() -> Any:
    return Dense(**ENCODER, task_keys=["dense"]), data("prototypes", add_dense), []


@case
def crystal_symmetry() -> Any:
    task = tasks.CrystalSymmetryClassificationTask(**ENCODER, task_keys=["crystal_system"])
    return task, data("prototypes"), []


@case
def node_denoising() -> Any:
    return tasks.NodeDenoisingTask(**ENCODER), data("emt", NoisyPositions(0.1, seed=0)), []


@case
def multi_task() -> Any:
    module = tasks.MultiTaskLitModule(
        ("emt", forces()), ("prototypes", tasks.ScalarRegressionTask(**ENCODER, task_keys=["density"]))
    )
    return module, both_sets(), []


# ---------------------------------------------------------------- missing labels


def without(
    key: str, missing: Callable[[dict[str, Any]], bool]
) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return a transform that removes a label from some samples."""

    def take(sample: dict[str, Any]) -> dict[str, Any]:
        if not missing(sample):
            return sample
        nothing = torch.full_like(sample["targets"][key], torch.nan)
        return sample | {"targets": sample["targets"] | {key: nothing}}

    return take


@case
def missing_labels() -> Any:
    return forces(), data("emt", without("energy", lambda s: int(s["sample_id"][-1]) % 2 == 0)), []


@case
def missing_labels_on_one_rank() -> Any:
    return forces(), data("emt", without("energy", lambda s: rank() == 1)), []


@case
def missing_forces_on_one_rank() -> Any:
    return forces(), data("emt", without("force", lambda s: rank() == 0)), []


@case
def missing_labels_of_several_tasks() -> Any:
    module, _, callbacks = multi_task()
    return module, both_sets(without("energy", lambda s: rank() == 1)), callbacks


# ---------------------------------------------------------------- loss weights that change


@case
def loss_scaling_scheduler() -> Any:
    schedule = tasks.LinearScalingSchedule("energy", 1.0, 10.0, step_frequency="step")
    return forces(), data(), [tasks.LossScalingScheduler(schedule)]


@case
def soft_adapt() -> Any:
    return forces(), data(), [tasks.SoftAdapt(every_n_steps=1)]


@case
def uncertainty_weighting() -> Any:
    return forces(), data(), [tasks.UncertaintyWeighting(["energy", "force"])]


# ---------------------------------------------------------------- callbacks of mml-diagnostics


@case
def exponential_moving_average() -> Any:
    return forces(), data(), [diagnostics.ExponentialMovingAverageCallback(update_starting_at_step=1)]


@case
def sam() -> Any:
    return forces(), data(), [diagnostics.SAM(logging=True)]


@case
def sam_and_soft_adapt() -> Any:
    return forces(), data(), [diagnostics.SAM(), tasks.SoftAdapt(every_n_steps=1)]


def observers() -> list[pl.Callback]:
    """Return all other callbacks but the optional CodeCarbonCallback, configured to work often."""
    return [
        diagnostics.GradientCheckCallback(patience=3, dump_dir=sys.argv[1]),
        diagnostics.ForwardNaNDetection(always=True),
        diagnostics.LossSpikeDetection(skip=True),
        diagnostics.ManualGradientClip(1.0),
        diagnostics.ModelAutocorrelation(buffer_size=2, analyze_every_n_steps=1),
        diagnostics.MonitorGradients(step_frequency=1),
        diagnostics.ThroughputCallback(every_n_steps=1),
        diagnostics.TrainingHelperCallback(update_freq=1),
        diagnostics.UnusedParametersCallback(),
        diagnostics.GarbageCallback(frequency=1),
        diagnostics.InferenceWriter(sys.argv[1]),
    ]


@case
def every_observer() -> Any:
    return forces(), data(), observers()


class Broken(diagnostics.ThroughputCallback):
    """Logger that fails on one rank, which must not leave the others waiting in this fit or the next one."""

    def _count(self, batch: Any, busy: float) -> None:
        if rank() == 1:
            raise RuntimeError("broken on this rank")
        super()._count(batch, busy)


BROKEN = Broken(every_n_steps=1)


@case
def a_diagnostic_that_fails_on_one_rank() -> Any:
    return forces(), data(), [BROKEN]


@case
def a_diagnostic_that_failed_on_one_rank() -> Any:
    assert BROKEN.switched_off == (rank() == 1)
    return forces(), data(), [BROKEN]


# ---------------------------------------------------------------- a module of a user


class Users(pl.LightningModule):
    """Module that shows metric objects in the progress bar, which only rank zero computes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(4, 1)
        self.error, self.val_error = torchmetrics.MeanSquaredError(), torchmetrics.MeanSquaredError()

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        (x,) = batch
        y = self.layer(x)
        self.error.update(y, x[:, :1])
        self.log("train_loss", self.error, prog_bar=True, on_step=False, on_epoch=True)
        return torch.nn.functional.mse_loss(y, x[:, :1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        (x,) = batch
        self.val_error.update(self.layer(x), x[:, :1])
        self.log("val_loss", self.val_error, prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.1)


class Numbers(pl.LightningDataModule):
    """Data module with random numbers, which are equal on all ranks until the sampler distributes them."""

    def train_dataloader(self) -> Any:
        rows = torch.randn(32, 4, generator=torch.Generator().manual_seed(1))
        return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(rows), batch_size=4)

    val_dataloader = train_dataloader


@case
def a_users_metrics_in_the_bar() -> Any:
    return Users(), Numbers(), [*observers(), diagnostics.ExponentialMovingAverageCallback()]


@case
def a_users_metrics_in_the_bar_of_tqdm() -> Any:
    return Users(), Numbers(), [*observers(), diagnostics.SAM(), TQDMProgressBar()]


def run(name: str, folder: Path) -> dict[str, float]:
    """Fit for two epochs, evaluate the checkpoint, and predict if a callback observes predictions."""
    pl.seed_everything(0, verbose=False)
    module, loaders, callbacks = MATRIX[name]()
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp_with_mpi",
        max_epochs=2,
        limit_train_batches=2,
        limit_val_batches=1,
        limit_predict_batches=1,
        log_every_n_steps=1,
        callbacks=callbacks,
        logger=CSVLogger(folder, name=name),
    )
    trainer.fit(module, datamodule=loaders)
    logged = {key: value.item() for key, value in trainer.callback_metrics.items()}
    trainer.validate(module, datamodule=loaders, ckpt_path="best", weights_only=True)
    if name == "every_observer":
        trainer.predict(module, datamodule=loaders, ckpt_path="best", weights_only=True)
    return logged


def main() -> None:
    folder, seconds = Path(sys.argv[1]), float(sys.argv[2])
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    found: dict[str, dict[str, float]] = {}
    for name in sys.argv[3:] or MATRIX:
        start = time.monotonic()
        print(f"\nrank {rank()} begins {name}", flush=True)
        faulthandler.dump_traceback_later(seconds, exit=True)
        found[name] = run(name, folder)
        faulthandler.cancel_dump_traceback_later()
        print(f"\nrank {rank()} ends {name} after {time.monotonic() - start:.1f} s", flush=True)
    (folder / f"{rank()}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
