"""Data sets with free atoms, which have no edges, can be imported and used for training."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from matsciml.cli import main
from mml_data import MatSciMLDataModule
from mml_graphs import PeriodicPropertiesTransform, PointCloudToGraphTransform
from mml_models import SchNet
from mml_tasks import ForceRegressionTask
from pytorch_lightning import Trainer

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings(
        "ignore:.*LeafSpec.*:FutureWarning"
    ),  # raised by Lightning 2.6 with torch 2.15
]


def labeled(atoms):
    """Return a copy with labels computed by a toy potential."""
    atoms.calc = EMT()
    results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def structures():
    """Yield 12 free atoms, dimers, molecules with one distant atom, and crystals each."""
    random = np.random.default_rng(0)
    for index in range(12):
        yield labeled(Atoms("Cu" if index % 2 else "Au"))
        yield labeled(Atoms("Cu2", [[0, 0, 0], [0, 0, 2.2 + 0.05 * index]]))
        yield labeled(Atoms("Cu3", [[0, 0, 0], [0, 0, 2.3], [0, 200.0 + index, 0]]))
        crystal = bulk("Cu", cubic=True)
        crystal.positions += random.normal(scale=0.1, size=crystal.positions.shape)
        yield labeled(crystal)


@pytest.fixture(autouse=True)
def imported(tmp_path, monkeypatch):
    """Import the data set `mixed` into the working directory."""
    monkeypatch.chdir(tmp_path)
    write("mixed.extxyz", list(structures()), format="extxyz")
    assert main(["data", "import", "mixed.extxyz", "mixed"]) == 0


def test_config_of_init_trains():
    assert main(["init", "free", "--data", "mixed"]) == 0
    config = yaml.safe_load(Path("free.yaml").read_text())
    transform = config["data"]["init_args"]["transforms"][0]["init_args"]
    assert transform == {"cutoff_radius": 5.0, "adaptive_cutoff": True}
    assert main(["fit", "--config", "free.yaml", "--trainer.max_epochs=2", "--trainer.accelerator=cpu"]) == 0
    summary = json.loads(Path("runs/free/summary.json").read_text())
    for errors in (summary["test"]["energy_per_atom"], summary["test"]["force"]):
        assert np.isfinite(errors["mae"])


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("fused", [True, False])
def test_force_task_trains(batch_size, fused):
    transforms = [PeriodicPropertiesTransform(5.0, adaptive_cutoff=True), PointCloudToGraphTransform("pyg")]
    if not fused:
        transforms.append(dict)  # with a third transform, samples are transformed one by one
    data = MatSciMLDataModule(train_path="mixed", transforms=transforms, batch_size=batch_size, seed=0)
    task = ForceRegressionTask(
        encoder=SchNet(hidden_dim=16, output_dim=16, num_conv=1, cutoff=5.0, reduction="sum"),
        task_keys=["energy", "force"],
        normalize_kwargs="auto",
        lr=1e-3,
    )
    before = [weight.detach().clone() for weight in task.encoder.parameters()]
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    trainer.fit(task, datamodule=data)
    losses = {name: float(value) for name, value in trainer.callback_metrics.items() if "loss" in name}
    assert losses
    assert all(np.isfinite(value) for value in losses.values()), losses
    assert not all(map(torch.equal, before, task.encoder.parameters()))
    # The force on an atom without edges is zero in every batch.
    seen = 0
    for batch in data.val_dataloader():
        forces = task.predict(batch)["force"].detach()
        degrees = torch.bincount(batch["src_nodes"], minlength=len(forces))
        assert not forces[degrees == 0].any()
        seen += int((degrees == 0).sum())
    assert seen
