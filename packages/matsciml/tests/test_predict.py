import json

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.io import read, write
from matsciml.cli import main
from matsciml.commands.predict import _by_structure
from matsciml.interfaces.ase import load_calculator
from matsciml.runs.trained import load_trained
from mml_data.convert import read_structures
from mml_graphs import collate_samples


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folder of a short run."""
    folder = tmp_path_factory.mktemp("runs")
    limits = [
        "--trainer.limit_train_batches=3",
        "--trainer.limit_val_batches=1",
        "--trainer.limit_test_batches=1",
    ]
    quiet = ["--trainer.max_epochs=1", "--trainer.enable_progress_bar=false", "--runs_dir", str(folder)]
    assert main(["fit", *quiet, *limits]) == 0
    return folder


@pytest.fixture
def files(tmp_path):
    alloy = bulk("CuAu", "cesiumchloride", a=3.1)
    alloy.rattle(0.05, seed=1)
    single = bulk("Au")
    single.info["note"] = "only here"
    write(tmp_path / "alloy.cif", alloy)
    write(tmp_path / "some.extxyz", [bulk("Ni", cubic=True), single, bulk("Al") * (2, 1, 1)])
    return [str(tmp_path / "alloy.cif"), str(tmp_path / "some.extxyz")]


def test_structures_in_files_are_predicted_one_like_the_other(runs, files, tmp_path, capsys):
    out = tmp_path / "out.extxyz"
    assert main(["predict", *files, "--runs_dir", str(runs), "--out", str(out), "--batch-size", "3"]) == 0
    shown = capsys.readouterr().out
    assert "energy (eV)" in shown
    assert "4 predictions in" in shown
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
    ("more", "said"),
    [
        (["--out", "table.csv"], "is of no kind that can be written: name it .extxyz or .jsonl"),
        (["--batch-size", "0"], "--batch-size must be at least 1, it is 0"),
        (["none.cif"], "there is no file none.cif to predict"),
        (["--device", "potato"], "--device potato cannot be used"),
        (["--name", "other"], "no run named 'other'"),
        (["--config", "none.yaml"], "there is no none.yaml, which says what the transforms are"),
        (["--ckpt_path", "none.ckpt", "--name", "a"], "--name and --runs_dir would be ignored"),
        (["--trainer.devices", "1"], "predict FILE has no option --trainer.devices"),
        (["--untrained"], "predict FILE has no option --untrained"),
    ],
)
def test_mistakes_are_said_and_leave_no_file(runs, files, tmp_path, monkeypatch, capsys, more, said):
    monkeypatch.chdir(tmp_path)
    assert main(["predict", *files, "--runs_dir", str(runs), *more]) == 1
    assert said in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alloy.cif", "some.extxyz"]


def test_a_file_is_only_replaced_where_that_is_said(runs, files, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "predictions.extxyz").write_text("mine")
    arguments = ["predict", files[0], "--runs_dir", str(runs)]
    assert main(arguments) == 1
    assert "give another --out, or --overwrite" in capsys.readouterr().err
    assert (tmp_path / "predictions.extxyz").read_text() == "mine"
    assert main([*arguments, "--overwrite"]) == 0
    assert len(read("predictions.extxyz")) == 2


def test_the_calculator_of_a_run_gives_what_is_predicted(runs, files):
    alloy = read(files[0])
    checkpoint = runs / "fit" / "checkpoints" / "best.ckpt"
    trained = load_trained(checkpoint)
    alloy.calc = load_calculator(checkpoint)
    ((_, sample),) = read_structures(files[0])
    for transform in trained.transforms:
        sample = transform(sample)
    assert alloy.get_potential_energy() == pytest.approx(
        float(trained.task.predict(sample)["energy"]), abs=1e-4
    )


def test_what_has_no_transforms_or_no_class_is_no_run(runs, tmp_path):
    checkpoint = runs / "fit" / "checkpoints" / "best.ckpt"
    (tmp_path / "empty.yaml").write_text("data: {class_path: x}\n")
    with pytest.raises(ValueError, match=r"empty\.yaml has no data\.init_args\.transforms"):
        load_trained(checkpoint, tmp_path / "empty.yaml")
    torch.save({"state_dict": {}}, tmp_path / "bare.ckpt")
    with pytest.raises(ValueError, match=r"bare\.ckpt does not say which class its task is"):
        load_trained(tmp_path / "bare.ckpt")


class Two:
    """Two tasks that predict a label and numbers of the same name."""

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


def test_outputs_of_several_tasks_are_told_apart_and_logits_become_labels():
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
