import json

import mml_models
import numpy as np
import pytest
import torch
import yaml
from matsciml.cli import main
from matsciml.commands.init import ENCODERS, SYMMETRY_TARGETS, make_config
from mml_data import LMDBWriter
from mml_tasks.tasks.classification import CRYSTAL_SYMMETRY_CLASSES


@pytest.fixture
def labels(tmp_path):
    """A data set with a regression target, a binary one, and one that no task can learn."""
    path = tmp_path / "labels"
    with LMDBWriter(path) as writer:
        for index in range(10):
            writer.add(
                {
                    "atomic_numbers": np.array([3, 9]),
                    "pos": np.array([[0.0, 0, 0], [0, 0, 1.5 + 0.1 * index]]),
                    "cell": np.eye(3)[None] * 4,
                    "targets": {"gap": 0.5 * index, "is_metal": index % 2, "kind": index % 3},
                    "target_types": {"regression": ["gap"], "classification": ["is_metal", "kind"]},
                }
            )
    return str(path)


@pytest.mark.parametrize(
    ("options", "task", "targets"),
    [
        ({}, "ForceRegressionTask", ["energy", "force"]),
        ({"task": "scalar"}, "ScalarRegressionTask", ["energy"]),
        ({"data": "prototypes"}, "ScalarRegressionTask", ["density", "volume_per_atom"]),
        ({"data": "prototypes", "targets": ["density"]}, "ScalarRegressionTask", ["density"]),
        (
            {"data": "prototypes", "task": "symmetry", "targets": ["crystal_system"]},
            "CrystalSymmetryClassificationTask",
            ["crystal_system"],
        ),
        (
            {"data": "prototypes", "targets": ["space_group"]},
            "CrystalSymmetryClassificationTask",
            ["space_group"],
        ),
    ],
)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_config_trains(tmp_path, monkeypatch, options, task, targets, encoder):
    monkeypatch.chdir(tmp_path)
    text = make_config("mine", encoder=encoder, **options)
    read = yaml.safe_load(text)
    assert read["model"]["class_path"] == f"mml_tasks.{task}"
    assert read["model"]["init_args"]["task_keys"] == targets
    (tmp_path / "mine.yaml").write_text(text)
    if encoder == "SchNet" or not options:
        assert main(["fit", "--config", "mine.yaml", "--trainer.fast_dev_run", "1"]) == 0


def test_dataset_without_splits_is_split(labels, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    read = yaml.safe_load(make_config("mine", data=labels))
    assert read["model"]["init_args"]["task_keys"] == ["gap"]
    assert read["data"]["init_args"]["val_split"] == 0.1
    read = yaml.safe_load(make_config("mine", data=labels, targets=["is_metal"]))
    assert read["model"]["class_path"] == "mml_tasks.BinaryClassificationTask"
    assert main(["init", "mine", "--data", labels, "--task", "binary"]) == 0
    assert main(["fit", "--config", "mine.yaml", "--trainer.fast_dev_run", "1"]) == 0


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    """A data set with a target of each kind, of which some labels are missing."""
    path = tmp_path_factory.mktemp("kinds") / "kinds"
    random = np.random.default_rng(0)
    with LMDBWriter(path) as writer:
        for index in range(20):
            pos = np.array([[0.0, 0, 0], [0, 0, 1.5 + 0.05 * index], [0.9, 0, 0]])
            targets = {
                "energy": -1.0 * index,
                "force": random.normal(size=(3, 3)),
                "stress": random.normal(size=(1, 3, 3)),
                "dipole": random.normal(size=(1, 3)),
                "dielectric": np.eye(3)[None] * (1 + index),
                "dos": random.random((1, 7)),
                "family": index % 3,
                "magmom": random.normal(size=3),
            }
            writer.add(
                {
                    "atomic_numbers": np.array([3, 9, 1]),
                    "pos": pos,
                    "cell": np.eye(3)[None] * 6,
                    "targets": targets,
                }
            )
    return str(path)


@pytest.mark.parametrize(
    ("targets", "task"),
    [
        (["dipole"], "VectorRegressionTask"),
        (["dielectric"], "TensorRegressionTask"),
        (["dos"], "SpectrumRegressionTask"),
        (["family"], "MulticlassClassificationTask"),
        (["energy", "force", "stress"], "ForceRegressionTask"),
    ],
)
def test_kind_of_target_selects_task(kinds, tmp_path, monkeypatch, targets, task):
    monkeypatch.chdir(tmp_path)
    text = make_config("mine", data=kinds, targets=targets)
    assert yaml.safe_load(text)["model"]["class_path"] == f"mml_tasks.{task}"
    (tmp_path / "mine.yaml").write_text(text)
    quiet = ["--trainer.max_epochs=1", "--trainer.enable_progress_bar=false"]
    assert main(["fit", "--config", "mine.yaml", *quiet]) == 0
    summary = json.loads((tmp_path / "runs/mine/summary.json").read_text())
    assert {"energy_per_atom" if name == "energy" else name for name in targets} == set(summary["test"])
    assert all(errors["count"] for errors in summary["test"].values())


def test_target_without_task_is_named(kinds, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["init", "mine", "--data", kinds, "--targets", "magmom"]) == 1
    message = capsys.readouterr().err
    assert "no task can learn magmom together" in message
    assert "no task can learn magmom (per_atom), so choose other targets with --targets" in message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data", "nowhere"], "nowhere"),
        (
            ["--encoder", "Transformer"],
            "--encoder must be one of EGNN, MEGNet, ",
        ),
        (["--task", "symmetry"], "CrystalSymmetryClassificationTask can learn none of the targets of 'emt'"),
        (
            ["--targets", "energy", "pressure"],
            "no task can learn energy, pressure together; the data set 'emt' provides energy, force, stress",
        ),
        (
            ["--task", "scalar", "--targets", "force"],
            "ScalarRegressionTask cannot learn target 'force' of 'emt'; it can learn energy",
        ),
        (["--cutoff", "-1"], "--cutoff must be above 0 angstrom, got -1"),
    ],
)
def test_invalid_option_leaves_no_file(tmp_path, monkeypatch, capsys, options, message):
    monkeypatch.chdir(tmp_path)
    assert main(["init", "mine", *options]) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_existing_config_is_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("mine")
    assert main(["init", "mine"]) == 1
    assert "mine.yaml already exists; choose another NAME" in capsys.readouterr().err
    assert (tmp_path / "mine.yaml").read_text() == "mine"
    assert main(["init", "a/b"]) == 1
    assert "NAME must not contain slashes, got 'a/b'" in capsys.readouterr().err


def test_encoders_equal_those_of_mml_models():
    own = {name for name in mml_models.__all__ if _is_encoder(getattr(mml_models, name))}
    assert set(ENCODERS) == own - {"GraphEncoder", "GenericEncoder"}


def _is_encoder(value):
    is_module = isinstance(value, type) and issubclass(value, torch.nn.Module)
    return is_module and not value.__module__.startswith("mml_models.adapters")


def test_symmetry_targets_equal_those_of_task():
    assert set(SYMMETRY_TARGETS) == set(CRYSTAL_SYMMETRY_CLASSES)
