"""Inputs of the folder of cases are imported, trained on and predicted with the command line."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from matsciml.cli import main
from mml_data import MatSciMLDataModule
from mml_graphs import PeriodicPropertiesTransform, PointCloudToGraphTransform

CASES = Path(__file__).parents[2] / "shared" / "cases" / "structures"
pytestmark = [
    pytest.mark.skipif(not CASES.is_dir(), reason=f"the folder of cases, {CASES}, does not exist"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
]

SPLITS = ["--splits", "0.6", "0.2", "0.2", "--split-by", "frame"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Train on crystals with molecules and free atoms that have only an energy."""
    folder = tmp_path_factory.mktemp("cases")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        source = str(CASES / "13-mixed" / "isolated-energy-only-first.extxyz")
        assert main(["data", "import", source, "mixed", *SPLITS]) == 0
        assert main(["init", "mixed", "--data", "mixed", "--targets", "energy", "force", "stress"]) == 0
        assert main(["fit", "--config", "mixed.yaml", "--trainer.max_epochs=1"]) == 0
    return folder


@pytest.fixture(autouse=True)
def _here(folder, monkeypatch):
    monkeypatch.chdir(folder)


def predict(capsys, *files, more=()):
    """Predict files and return the exit status, the lines and the error message."""
    out = Path("predicted.jsonl")
    out.unlink(missing_ok=True)
    paths = [str(CASES / "15-predict" / file) for file in files]
    status = main(["predict", *paths, "--name", "mixed", "--out", str(out), *more])
    lines = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    return status, lines, capsys.readouterr().err


def test_mixed_structures_train(folder):
    errors = json.loads((folder / "runs/mixed/summary.json").read_text())["test"]
    assert set(errors) == {"energy_per_atom", "force", "stress"}
    for found in errors.values():
        assert np.isfinite([found["mae"], found["baseline_mae"]]).all() or not found["count"]


def test_odd_structures_are_predicted(capsys):
    files = ("crystal-and-molecule.extxyz", "one-atom.xyz", "one-atom-box.extxyz", "slab.extxyz")
    more = ("slabvac.extxyz", "left.extxyz", "dimer-far.xyz", "inside.extxyz", "outside.extxyz")
    status, lines, _ = predict(capsys, *files, *more)
    assert status == 0
    assert all(np.isfinite(line["energy"]) and np.isfinite(line["force"]).all() for line in lines)
    has_stress = [line["stress"][0][0] is not None for line in lines]
    assert has_stress == [True, False, False, True, False, True, True, False, True, True]
    assert lines[-1]["energy"] == pytest.approx(lines[-2]["energy"], abs=1e-3)  # atoms outside the cell
    assert lines[3]["stress"] is not None


@pytest.mark.parametrize("file", ["coincident.extxyz", "near-coincident.extxyz"])
def test_coincident_atoms_are_refused(capsys, file):
    status, lines, error = predict(capsys, file)
    assert (status, lines) == (1, [])
    assert file in error


def test_unknown_elements_are_refused(capsys):
    status, lines, error = predict(capsys, "water.xyz")
    assert (status, lines) == (1, [])
    assert re.search(r"contains H, O, which the training data \(Ni, Cu\) did not", error)
    status, lines, _ = predict(capsys, "water.xyz", more=["--unknown-elements", "warn"])
    assert (status, len(lines)) == (0, 1)


@pytest.mark.parametrize("file", sorted((CASES / "14-extra").glob("*.extxyz")), ids=lambda file: file.stem)
def test_extra_values_do_not_stop_training(file, tmp_path):
    assert main(["data", "import", str(file), str(tmp_path / "data"), *SPLITS]) == 0
    transforms = [PeriodicPropertiesTransform(4.0, adaptive_cutoff=True), PointCloudToGraphTransform("pyg")]
    for collate in ("fused", "plain"):
        data = MatSciMLDataModule(
            train_path=tmp_path / "data", transforms=transforms, batch_size=64, collate=collate
        )
        (batch,) = list(data.train_dataloader())
        assert len(batch["targets"]["energy"]) == len(batch["natoms"]) > 1


def test_missing_stress_is_counted(folder):
    source = str(CASES / "18-missing-stress" / "half-stress.extxyz")
    assert main(["data", "import", source, "half", *SPLITS]) == 0
    assert main(["init", "half", "--data", "half", "--targets", "energy", "force", "stress"]) == 0
    assert main(["fit", "--config", "half.yaml", "--trainer.max_epochs=1"]) == 0
    summary = json.loads((folder / "runs/half/summary.json").read_text())
    stress = summary["test"]["stress"]
    assert stress["count"] == 9 * (summary["data"]["counts"]["test"] - stress.get("missing", 0))
    manifest = json.loads((folder / "half/manifest.json").read_text())
    numbers = manifest["statistics"]["all"]["targets"]["stress"]
    assert 0 < numbers["missing_structures"] < manifest["num_samples"]


@pytest.mark.parametrize(
    ("file", "target", "task", "names"),
    [
        ("ints.jsonl", "spacegroup", "MulticlassClassificationTask", None),
        ("strings.jsonl", "crystal_system", "BinaryClassificationTask", {"cubic", "hexagonal"}),
    ],
)
def test_classes_are_learned(folder, file, target, task, names, capsys):
    source, name = str(CASES / "16-classes" / file), Path(file).stem
    assert main(["data", "import", source, f"{name}-data", *SPLITS, "--classes", target]) == 0
    assert main(["init", name, "--data", f"{name}-data", "--targets", target]) == 0
    assert f"mml_tasks.{task}" in Path(f"{name}.yaml").read_text()
    assert main(["fit", "--config", f"{name}.yaml", "--trainer.max_epochs=1"]) == 0
    errors = json.loads((folder / "runs" / name / "summary.json").read_text())["test"][target]
    assert 0 <= errors["accuracy"] <= 1
    capsys.readouterr()
    assert main(["predict", source, "--name", name, "--out", f"{name}-out.jsonl"]) == 0
    assert "labeled structures correct" in capsys.readouterr().out
    lines = [json.loads(line) for line in Path(f"{name}-out.jsonl").read_text().splitlines()]
    known = names or {line[f"{target}_label"] for line in lines}
    assert {line[target] for line in lines} <= known
    assert {line[f"{target}_label"] for line in lines} <= known
