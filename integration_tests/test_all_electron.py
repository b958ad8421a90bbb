"""Energies of 1e5 eV per atom give the same results as shifted energies, in commands and the calculator."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from matsciml.cli import main
from matsciml.report.plots import read_metrics
from matsciml.runs.trained import load_calculator
from mml_data import LMDBDataset, MatSciMLDataModule, devset_path
from mml_graphs import PeriodicPropertiesTransform, PointCloudToGraphTransform
from mml_models import SchNet
from mml_tasks import ForceRegressionTask

OFFSET = -5e5
"""Energy per atom, in eV, that an all-electron code adds."""


def frames(offset: float) -> list[Atoms]:
    """Return structures of the embedded data set with energies shifted by a constant per atom."""
    data, found = LMDBDataset(devset_path("emt")), []
    for index in range(0, 240, 3):
        sample = data[index]
        atoms = Atoms(
            sample["atomic_numbers"].numpy(),
            sample["pos"].numpy(),
            cell=sample["cell"].reshape(3, 3).numpy(),
            pbc=True,
        )
        energy = float(sample["targets"]["energy"]) + offset * len(atoms)
        forces = sample["targets"]["force"].numpy()
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
        found.append(atoms)
    return found


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Run every command with and without the offset, and return the folder of each offset."""
    folders = {}
    with pytest.MonkeyPatch.context() as patch:
        for offset in (0.0, OFFSET):
            folder = folders[offset] = tmp_path_factory.mktemp("run")
            patch.chdir(folder)
            write("labels.extxyz", frames(offset))
            write("new.extxyz", frames(offset)[:5], columns=["symbols", "positions"])
            assert main(["data", "import", "labels.extxyz", "data"]) == 0
            assert main(["init", "mine", "--data", "data"]) == 0
            options = ["--trainer.max_epochs=2", "--seed_everything=1"]
            assert main(["fit", "--config", "mine.yaml", *options]) == 0
            assert main(["test", "--name", "mine"]) == 0
            assert main(["predict", "new.extxyz", "--name", "mine"]) == 0
    return folders


def summary(folder: Path, run: str) -> dict[str, Any]:
    return json.loads((folder / "runs" / run / "summary.json").read_text())["test"]


@pytest.mark.parametrize("run", ["mine", "mine-test"])
def test_errors_ignore_offset(runs, run):
    shifted, large = (summary(runs[offset], run) for offset in (0.0, OFFSET))
    for quantity in ("energy_per_atom", "force"):
        for name in ("mae", "rmse", "baseline_mae"):
            assert large[quantity][name] == pytest.approx(shifted[quantity][name], rel=1e-5), (quantity, name)
            assert large[quantity][name] > 0


def test_loss_curves_ignore_offset(runs):
    curves = [read_metrics(runs[offset] / "runs" / "mine" / "metrics.csv") for offset in (0.0, OFFSET)]
    for name in ("train_loss", "val_loss", "val_energy_per_atom_mae", "val_force_mae"):
        shifted, large = (np.array(curve[name]) for curve in curves)
        np.testing.assert_allclose(large, shifted, rtol=1e-4, err_msg=name)
        assert np.ptp(shifted[:, 1]) > 0, name


def test_predictions_differ_by_offset(runs):
    shifted, large = (read(runs[offset] / "predictions.extxyz", ":") for offset in (0.0, OFFSET))
    for without, with_offset in zip(shifted, large, strict=True):
        difference = with_offset.get_potential_energy() - OFFSET * len(with_offset)
        assert difference == pytest.approx(without.get_potential_energy(), abs=1e-5)
        np.testing.assert_allclose(with_offset.get_forces(), without.get_forces(), atol=1e-5)


def test_calculators_differ_by_offset(runs):
    energies = []
    for offset in (0.0, OFFSET):
        atoms = frames(0.0)[0]
        atoms.calc = load_calculator(runs[offset] / "runs/mine/checkpoints/best.ckpt")
        energies.append(atoms.get_potential_energy() - offset * len(atoms))
    assert energies[1] == pytest.approx(energies[0], abs=1e-5)


@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed", "bf16-true"])
def test_labels_keep_precision(runs, precision, tmp_path):
    found = []
    for offset in (0.0, OFFSET):
        torch.manual_seed(0)
        transforms = [PeriodicPropertiesTransform(5.0), PointCloudToGraphTransform("pyg")]
        data = MatSciMLDataModule(train_path=runs[offset] / "data", batch_size=16, transforms=transforms)
        encoder = {"hidden_dim": 16, "output_dim": 16, "num_conv": 2, "cutoff": 5.0}
        task = ForceRegressionTask(encoder_class=SchNet, encoder_kwargs=encoder, normalize_kwargs="auto")
        trainer = pl.Trainer(
            accelerator="cpu",
            max_epochs=1,
            precision=precision,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,  # the logged warning concerns bf16-mixed
            default_root_dir=tmp_path,
        )
        trainer.fit(task, data)
        found.append({name: value.item() for name, value in trainer.callback_metrics.items()})
    tolerance = 1e-2 if precision == "bf16-true" else 1e-5  # bf16 weights change in steps of 1/256
    assert found[1] == pytest.approx(found[0], rel=tolerance, abs=1e-5)
