import numpy as np
import pytest
import yaml
from matsciml.cli import main
from matsciml.commands.init import make_config
from mml_data import LMDBWriter


@pytest.fixture
def labels(tmp_path):
    """A data set with a number, a yes or no, and a label that no task knows."""
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
@pytest.mark.parametrize("encoder", ["SchNet", "EGNN", "MEGNet", "PaiNN", "TensorNet"])
def test_a_config_that_was_made_trains(tmp_path, monkeypatch, options, task, targets, encoder):
    monkeypatch.chdir(tmp_path)
    text = make_config("mine", encoder=encoder, **options)
    read = yaml.safe_load(text)
    assert read["model"]["class_path"] == f"mml_tasks.{task}"
    assert read["model"]["init_args"]["task_keys"] == targets
    (tmp_path / "mine.yaml").write_text(text)
    if encoder == "SchNet" or not options:
        assert main(["fit", "--config", "mine.yaml", "--trainer.fast_dev_run", "1"]) == 0


def test_data_without_splits_get_some(labels, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    read = yaml.safe_load(make_config("mine", data=labels))
    assert read["model"]["init_args"]["task_keys"] == ["gap"]
    assert read["data"]["init_args"]["val_split"] == 0.1
    read = yaml.safe_load(make_config("mine", data=labels, targets=["is_metal"]))
    assert read["model"]["class_path"] == "mml_tasks.BinaryClassificationTask"
    assert main(["init", "mine", "--data", labels, "--task", "binary"]) == 0
    assert main(["fit", "--config", "mine.yaml", "--trainer.fast_dev_run", "1"]) == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--data", "nowhere"], "nowhere"),
        (["--encoder", "Transformer"], "there is no encoder 'Transformer' in mml_models; there are "),
        (["--task", "symmetry"], "CrystalSymmetryClassificationTask learns none of the targets of 'emt'"),
        (
            ["--targets", "stress"],
            "no task learns stress together; the data set 'emt' has energy, force for --task",
        ),
        (
            ["--task", "scalar", "--targets", "force"],
            "ScalarRegressionTask cannot learn 'force' of 'emt', only",
        ),
        (["--cutoff", "-1"], "--cutoff must be above 0 angstrom, it is -1"),
    ],
)
def test_mistakes_are_said_and_leave_no_file(tmp_path, monkeypatch, capsys, options, said):
    monkeypatch.chdir(tmp_path)
    assert main(["init", "mine", *options]) == 1
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_config_is_not_overwritten_and_has_a_plain_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("mine")
    assert main(["init", "mine"]) == 1
    assert "there is a mine.yaml already" in capsys.readouterr().err
    assert (tmp_path / "mine.yaml").read_text() == "mine"
    assert main(["init", "a/b"]) == 1
    assert "give one without slashes" in capsys.readouterr().err
