"""Free atoms, molecules, wires, slabs and odd cells pass import, training, prediction and calculator."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from matsciml.cli import main
from matsciml.runs.trained import load_calculator
from mml_data import MatSciMLDataModule
from mml_graphs import PeriodicPropertiesTransform, PointCloudToGraphTransform, collate_samples
from mml_models import EGNN, MEGNet, PaiNN, SchNet, TensorNet
from mml_samples.testing import odd_structures
from mml_tasks import ForceRegressionTask
from pytorch_lightning import Trainer

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),  # Lightning 2.6 with torch 2.15
]

WITHOUT_STRESS = ("free_atom", "atom_in_box", "far_dimer", "molecule", "wire", "slab")
ENCODERS = (EGNN, MEGNet, PaiNN, SchNet, TensorNet)
TRANSFORMS = (PeriodicPropertiesTransform(5.0, adaptive_cutoff=True), PointCloudToGraphTransform("pyg"))


def atoms_of(name):
    sample = odd_structures()[name]
    cell = sample["cell"][0] if "cell" in sample else None
    return Atoms(sample["atomic_numbers"], sample["pos"], cell=cell, pbc=sample["pbc"])


def labeled(repeats=4):
    """Return labeled frames. Some labels of forces and, as in many data sets, of the stress are missing."""
    random, frames = np.random.default_rng(0), []
    for repeat in range(repeats):
        for name in odd_structures():
            atoms = atoms_of(name)
            results = {"energy": -3.0 * len(atoms) + random.normal(scale=0.1)}
            if repeat % 2 or len(atoms) > 1:
                results["forces"] = random.normal(scale=0.3, size=(len(atoms), 3))
            if name not in WITHOUT_STRESS and repeat != 1:
                results["stress"] = random.normal(scale=0.01, size=6)
            atoms.calc = SinglePointCalculator(atoms, **results)
            atoms.info["name"] = f"{name}-{repeat}"
            frames.append(atoms)
    return frames


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Import the labeled structures, and train on them with the command line."""
    folder = tmp_path_factory.mktemp("odd")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write("odd.extxyz", labeled())
        write("new.extxyz", [atoms_of(name) for name in odd_structures()])
        assert main(["data", "import", "odd.extxyz", "odd"]) == 0
        assert main(["init", "mine", "--data", "odd", "--targets", "energy", "force", "stress"]) == 0
        assert main(["fit", "--config", "mine.yaml", "--trainer.max_epochs=1"]) == 0
        assert main(["test", "--name", "mine"]) == 0
        assert main(["predict", "new.extxyz", "--name", "mine", "--out", "out.jsonl"]) == 0
        assert main(["predict", "new.extxyz", "--name", "mine"]) == 0
    return folder


@pytest.mark.parametrize("run", ["mine", "mine-test"])
def test_errors_are_finite(folder, run):
    errors = json.loads((folder / "runs" / run / "summary.json").read_text())["test"]
    assert set(errors) == {"energy_per_atom", "force", "stress"}
    for found in errors.values():
        assert found["count"]
        assert np.isfinite([found["mae"], found["rmse"], found["baseline_mae"]]).all()


def test_stress_is_missing_without_volume(folder):
    lines = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    frames = read(folder / "predictions.extxyz", ":")
    for name, line, atoms in zip(odd_structures(), lines, frames, strict=True):
        assert np.isfinite(line["energy"]), name
        assert np.isfinite(line["force"]).all(), name
        if name in WITHOUT_STRESS:
            assert not np.array(line["stress"], dtype=object).any(), name  # None
            assert "stress" not in atoms.calc.results, name
        else:
            np.testing.assert_allclose(np.array(line["stress"]), atoms.get_stress(voigt=False), atol=1e-6)


def test_calculator_equals_prediction(folder):
    lines = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    for name, line in zip(odd_structures(), lines, strict=True):
        atoms = atoms_of(name)
        atoms.calc = load_calculator(folder / "runs/mine/checkpoints/best.ckpt")
        assert atoms.get_potential_energy() == pytest.approx(line["energy"], abs=1e-4), name
        np.testing.assert_allclose(atoms.get_forces(), line["force"], atol=1e-4, err_msg=name)
        if name in WITHOUT_STRESS:
            with pytest.raises(PropertyNotImplementedError, match="the stress requires periodic atoms"):
                atoms.get_stress()
        else:
            np.testing.assert_allclose(atoms.get_stress(voigt=False), line["stress"], atol=1e-5, err_msg=name)


def test_calculator_refuses_unknown_elements(folder):
    atoms, checkpoint = (
        Atoms("Cu2O", [[0, 0, 0], [0, 0, 2.4], [0, 1.8, 0]]),
        "runs/mine/checkpoints/best.ckpt",
    )
    atoms.calc = load_calculator(folder / checkpoint)
    with pytest.raises(ValueError, match=r"contains O, which the training data \(Ni, Cu\) did not"):
        atoms.get_potential_energy()
    atoms.calc = load_calculator(folder / checkpoint, unknown_elements="warn")
    assert np.isfinite(atoms.get_potential_energy())


@pytest.mark.parametrize("name", ["free_atom", "atom_in_box", "far_dimer"])
def test_atoms_without_neighbors_keep_cutoff(name):
    sample = TRANSFORMS[0](odd_structures()[name])
    if name == "far_dimer":  # the cutoff grows until each of the two atoms has a neighbor
        assert (sample["cutoff_radius"], len(sample["src_nodes"])) == (30.0, 2)
        sample = PeriodicPropertiesTransform(5.0, on_isolated="allow")(odd_structures()[name])
    assert (sample["cutoff_radius"], len(sample["src_nodes"])) == (5.0, 0)


@pytest.mark.parametrize("kind", ENCODERS)
def test_encoders_accept_odd_structures(kind, folder):
    """Fit, test and predict work, and a structure alone has the same outputs as in the mixed batch."""
    torch.manual_seed(0)
    data = MatSciMLDataModule(train_path=folder / "odd", transforms=list(TRANSFORMS), batch_size=16)
    encoder = kind(hidden_dim=8, output_dim=8, num_conv=2, cutoff=5.0)
    task = ForceRegressionTask(encoder, compute_stress=True, normalize_kwargs="auto")
    options = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "max_epochs": 1}
    trainer = Trainer(**options, enable_model_summary=False)
    trainer.fit(task, data)
    trainer.test(task, data, verbose=False)
    found = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert all(np.isfinite(value) for value in found.values()), found
    assert all(weight.isfinite().all() for weight in task.parameters())
    task = task.double()
    samples = [{**sample, "sample_id": name} for name, sample in odd_structures().items()]
    with torch.random.fork_rng():
        torch.set_default_dtype(torch.float64)
        try:
            made = [TRANSFORMS[1](TRANSFORMS[0](sample)) for sample in samples]
            together = task.predict(collate_samples(made))
            alone = [task.predict(collate_samples([sample])) for sample in made]
            no_edges = [made[i] for i in (0, 1)]
            assert task.predict(collate_samples(no_edges))["energy"].isfinite().all()
        finally:
            torch.set_default_dtype(torch.float32)
    for key in ("energy", "force", "stress"):
        torch.testing.assert_close(together[key], torch.cat([each[key] for each in alone]), equal_nan=True)
    undefined = together["stress"].isnan().flatten(1).all(1)
    assert [name for name, each in zip(odd_structures(), undefined, strict=True) if each] == [*WITHOUT_STRESS]
    assert not together["force"][0].any()


def test_reports_exist(folder):
    for run in ("mine", "mine-test"):
        assert "nan" not in Path(folder / "runs" / run / "report.html").read_text().split("<h2>Learning")[0]
