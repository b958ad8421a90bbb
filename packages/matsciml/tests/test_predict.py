import json

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from matsciml.cli import main
from matsciml.commands.predict import _by_structure
from matsciml.runs.trained import load_trained
from mml_data.convert import read_structures
from mml_graphs import collate_samples
from mml_samples import forget_notices


@pytest.fixture
def files(tmp_path):
    alloy = bulk("CuAu", "cesiumchloride", a=3.1)
    alloy.rattle(0.05, seed=1)
    single = bulk("Au")
    single.info["note"] = "only here"
    write(tmp_path / "alloy.cif", alloy)
    write(tmp_path / "some.extxyz", [bulk("Ni", cubic=True), single, bulk("Al") * (2, 1, 1)])
    return [str(tmp_path / "alloy.cif"), str(tmp_path / "some.extxyz")]


def test_files_are_predicted_like_single_samples(runs, files, tmp_path, capsys):
    out = tmp_path / "out.extxyz"
    assert main(["predict", *files, "--runs_dir", str(runs), "--out", str(out), "--batch-size", "3"]) == 0
    shown = capsys.readouterr().out
    assert "energy (eV)" in shown
    assert "4 predictions written to" in shown
    assert f"{runs}/fit/checkpoints/best.ckpt, config {runs}/fit/config.yaml" in shown
    assert max(map(len, shown.splitlines()[:5])) <= 80

    trained = load_trained(runs / "fit" / "checkpoints" / "best.ckpt")
    frames = read(out, ":")
    assert [len(frame) for frame in frames] == [2, 4, 1, 2]
    singles = [each for file in files for _, each in read_structures(file)]
    for frame, sample in zip(frames, singles, strict=True):
        sample.pop("extra", None)
        for transform in trained.transforms:
            sample = transform(sample)
        alone = trained.task.predict(collate_samples([sample]))
        assert frame.get_potential_energy() == pytest.approx(float(alone["energy"]), abs=1e-4)
        np.testing.assert_allclose(frame.get_forces(), alone["force"].numpy(), atol=1e-4)
        np.testing.assert_allclose(frame.positions, sample["pos"], atol=1e-6)
        np.testing.assert_allclose(frame.cell, sample["cell"][0], atol=1e-6)

    lines = tmp_path / "out.jsonl"
    assert main(["predict", *files, "--runs_dir", str(runs), "--out", str(lines)]) == 0
    found = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [line["natoms"] for line in found] == [2, 4, 1, 2]
    for line, frame in zip(found, frames, strict=True):
        assert line["energy"] == pytest.approx(frame.get_potential_energy(), abs=1e-4)
        np.testing.assert_allclose(line["force"], frame.get_forces(), atol=1e-4)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--out", "table.csv"], "--out must end with .extxyz, .xyz or .jsonl, got table.csv"),
        (["--batch-size", "0"], "--batch-size must be at least 1, got 0"),
        (["none.cif"], "none.cif does not exist"),
        (["--device", "potato"], "--device potato is not available"),
        (["--name", "other"], "no run named 'other'"),
        (["--config", "none.yaml"], "none.yaml, which describes the transforms of the run, does not exist"),
        (["--ckpt_path", "none.ckpt", "--name", "a"], "--name and --runs_dir would be ignored"),
        (["--trainer.devices", "1"], "unknown option --trainer.devices of predict FILE"),
        (["--untrained"], "unknown option --untrained of predict FILE"),
    ],
)
def test_invalid_option_leaves_no_file(runs, files, tmp_path, monkeypatch, capsys, more, message):
    monkeypatch.chdir(tmp_path)
    assert main(["predict", *files, "--runs_dir", str(runs), *more]) == 1
    assert message in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alloy.cif", "some.extxyz"]


def test_existing_file_is_replaced_only_on_request(runs, files, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "predictions.extxyz").write_text("mine")
    arguments = ["predict", files[0], "--runs_dir", str(runs)]
    assert main(arguments) == 1
    assert "pass --overwrite to replace it, or another --out" in capsys.readouterr().err
    assert (tmp_path / "predictions.extxyz").read_text() == "mine"
    assert main([*arguments, "--overwrite"]) == 0
    assert len(read("predictions.extxyz")) == 2


def named(key, logits):
    return [("metal", "insulator")[index] for index in logits.argmax(1).tolist()]


class Two:
    """Two tasks that predict a class and a number under the same name."""

    def __init__(self):
        self.tasks = {"a": self, "b": type("B", (), {"predicted_labels": staticmethod(named)})}

    def predict(self, batch):
        natoms, ids = batch["natoms"], ["x", "y"]
        return {
            "a": {
                "gap": torch.tensor([[1.0], [2.0]]),
                "charge": torch.arange(3.0),
                "natoms": natoms,
                "sample_id": ids,
            },
            "b": {"gap": torch.tensor([[0.0, 1.0], [3.0, 1.0]]), "natoms": natoms, "sample_id": ids},
        }


def test_outputs_of_tasks_are_separated():
    first, second = _by_structure(Two(), {"natoms": torch.tensor([1, 2])})
    found = [{k: v if k == "b_gap" else v.tolist() for k, v in each.items()} for each in (first, second)]
    assert found == [
        {"a_gap": [1.0], "charge": [0.0], "b_gap": "insulator"},
        {"a_gap": [2.0], "charge": [1.0, 2.0], "b_gap": "metal"},
    ]


def test_labels_are_compared(runs, tmp_path, capsys):
    """Errors are those of the known labels; structures without labels are shown with a dash."""
    frames = [bulk("Ni", cubic=True), bulk("Au"), bulk("Al") * (2, 1, 1)]
    frames[0].calc = SinglePointCalculator(frames[0], energy=4.0, forces=np.full((4, 3), 0.5))
    frames[2].calc = SinglePointCalculator(frames[2], energy=float("nan"), forces=np.full((2, 3), 0.25))
    write(tmp_path / "in.extxyz", frames)
    out = tmp_path / "out.jsonl"
    command = ["predict", str(tmp_path / "in.extxyz"), "--runs_dir", str(runs), "--out", str(out)]
    assert main(command) == 0
    shown = capsys.readouterr().out
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line.get("energy_label") for line in lines] == [4.0, None, None]
    assert ["force_label" in line for line in lines] == [True, False, True]
    error = abs(lines[0]["energy"] - 4.0) / 4
    assert f"energy per atom: MAE {1000 * error:.4g} meV/atom over 1 labels" in shown
    difference = np.concatenate([np.array(lines[i]["force"]) - label for i, label in ((0, 0.5), (2, 0.25))])
    assert f"force: MAE {1000 * np.abs(difference).mean():.4g} meV/Å over 18 labels" in shown
    assert main([*command[:-1], str(tmp_path / "out.extxyz")]) == 0
    found = read(tmp_path / "out.extxyz", ":")
    assert found[0].info["energy_label"] == 4.0
    np.testing.assert_allclose(found[2].arrays["force_label"], 0.25)


def test_unknown_elements_are_refused_or_warned_about(runs, tmp_path, monkeypatch, capsys, caplog):
    monkeypatch.chdir(tmp_path)
    write("iron.extxyz", bulk("Fe"))
    command = ["predict", "iron.extxyz", "--runs_dir", str(runs), "--out", "out.jsonl"]
    assert main(command) == 1
    assert "contains Fe, which the training data (" in capsys.readouterr().err
    assert not (tmp_path / "out.jsonl").exists()
    forget_notices()
    with caplog.at_level("WARNING", "mml_tasks"):
        assert main([*command, "--unknown-elements", "warn"]) == 0
    assert "contains Fe, which the training data (" in caplog.text
    assert "Its predictions are not reliable" in caplog.text
