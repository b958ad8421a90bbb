"""Tasks with real encoders and data, in molecular dynamics and in configs with schedules."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.md.verlet import VelocityVerlet
from mml_data import LMDBDataset, devset_path
from mml_graphs import PeriodicPropertiesTransform, PointCloudToGraphTransform
from mml_tasks import ForceRegressionTask
from support import fit


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a task that is trained just enough on the EMT data for forces that keep atoms together."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("trained"))
        quick = ["--trainer.max_epochs=2", "--trainer.enable_progress_bar=false"]
        assert fit(quick=quick) == 0
        return ForceRegressionTask.load_from_checkpoint(Path("runs/fit/checkpoints/last.ckpt"))


def test_dynamics_conserve_energy(trained):
    sample = LMDBDataset(devset_path("emt"))[0]
    atoms = Atoms(
        sample["atomic_numbers"].numpy(),
        positions=sample["pos"].numpy(),
        cell=sample["cell"][0].numpy(),
        pbc=True,
    )
    transforms = [PeriodicPropertiesTransform(5.0), PointCloudToGraphTransform("pyg")]
    atoms.calc = trained.double().as_ase_calculator(transforms)
    speeds = np.sqrt(2 * 300 * units.kB / atoms.get_masses())[:, None]
    atoms.set_velocities(speeds * np.random.default_rng(0).normal(size=(len(atoms), 3)))
    dynamics = VelocityVerlet(atoms, timestep=1.0 * units.fs)
    totals, kinetic = [], []

    def watch():
        totals.append(atoms.get_total_energy() / len(atoms))
        kinetic.append(atoms.get_kinetic_energy() / len(atoms))

    dynamics.attach(watch)
    dynamics.run(1000)
    assert len(totals) == 1001
    drift = np.polyfit(np.arange(len(totals)), totals, 1)[0] * 1000
    assert abs(drift) < 1e-4  # eV per atom over the run
    assert np.std(totals) < 0.02 * np.std(kinetic)
    assert np.std(kinetic) > 1e-3  # the atoms have moved


def test_config_contains_schedules(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("schedules.yaml").write_text(
        """
trainer:
  callbacks:
    - class_path: mml_tasks.LossScalingScheduler
      init_args:
        schedules:
          - class_path: mml_tasks.LinearScalingSchedule
            init_args: {key: energy, initial_value: 1.0, end_value: 8.0, step_frequency: step}
          - class_path: mml_tasks.StepScalingSchedule
            init_args: {key: force, initial_value: 2.0, milestones: [0.5], values: [3.0]}
""",
        encoding="utf-8",
    )
    default = Path(__file__).parents[1] / "packages/matsciml/src/matsciml/configs/emt.yaml"
    quick = [
        "--trainer.max_epochs=2",
        "--trainer.limit_train_batches=4",
        "--trainer.limit_val_batches=1",
        "--trainer.limit_test_batches=1",
        "--trainer.log_every_n_steps=1",
        "--trainer.enable_progress_bar=false",
    ]
    assert fit("--config", str(default), "--config", "schedules.yaml", *quick, quick=[]) == 0
    with Path("runs/fit/metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    seen = {
        key: [float(row[f"loss_scaling/{key}"]) for row in rows if row.get(f"loss_scaling/{key}")]
        for key in ("energy", "force")
    }
    assert seen["energy"] == pytest.approx([1, 2, 3, 4, 5, 6, 7, 8])
    assert seen["force"] == pytest.approx([2.0] * 4 + [3.0] * 4)


def test_encoder_class_and_kwargs_make_task():
    task = ForceRegressionTask(
        encoder_class="mml_models.SchNet",
        encoder_kwargs={"hidden_dim": 8, "output_dim": 8, "num_conv": 1},
        output_kwargs={"hidden_dim": 8},
        normalize_kwargs={"energy_mean": 1.0, "energy_std": 2.0},
        task_keys=["energy", "force"],
        task_loss_scaling={"energy": 1.0, "force": 10.0},
        loss_func=torch.nn.L1Loss,
        lr=1e-3,
    )
    assert task.task_loss_scaling == {"energy": 1.0, "force": 10.0}
