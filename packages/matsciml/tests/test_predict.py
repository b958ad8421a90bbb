import json

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.io import read, write
from matsciml.cli import main
from matsciml.commands.predict import _by_structure
from matsciml.runs.trained import load_trained
from mml_data.convert import read_structures
from mml_graphs import collate_samples


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


class Two:
    """Two tasks that predict a class and a number under the same name."""

    def __init__(self):
        self.tasks = {"a": self, "b": type("B", (), {"predicted_class": staticmethod(lambda x: x.argmax(1))})}

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
    assert {name: value.tolist() for name, value in first.items()} == {
        "a_gap": [1.0],
        "charge": [0.0],
        "b_gap": 1,
    }
    assert {name: value.tolist() for name, value in second.items()} == {
        "a_gap": [2.0],
        "charge": [1.0, 2.0],
        "b_gap": 0,
    }
