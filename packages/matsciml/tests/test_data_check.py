import json

import numpy as np
import pytest
from matsciml.cli import main
from mml_data import LMDBWriter
from mml_data.devsets import devset_path
from mml_data.store.stored_dataset import StoredDataset


@pytest.fixture(scope="module")
def wrong(tmp_path_factory):
    """Part of the embedded data set, with the forces of every third sample shifted."""
    path = tmp_path_factory.mktemp("wrong") / "wrong"
    dataset = StoredDataset(devset_path("emt"))
    with LMDBWriter(path) as writer:
        for index in range(60):
            sample = dataset.stored(index)
            sample["extra"] |= {"source": "runs/a.xyz", "frame": index}
            if index % 3 == 0:
                sample["targets"]["force"] = sample["targets"]["force"] + np.float32([0.4, 0, 0])
            writer.add(sample)
        writer.set_splits({"train": range(3, 60), "val": [1, 2]})
    return path


@pytest.mark.parametrize("name", ["emt", "prototypes"])
def test_embedded_dataset_passes(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["data", "check", name]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert "no errors and no warnings" in text


def test_error_sets_status_and_names_frames(wrong, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["data", "check", str(wrong)]) == 1
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert "error net_force: The forces do not sum to zero in 20 of 60 samples" in " ".join(text.split())
    assert "runs/a.xyz, frame 0" in " ".join(text.split())
    assert "and 17 more" in text


def test_json_has_all_frames(wrong, capsys):
    assert main(["data", "check", str(wrong), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["samples"] == 60
    (found,) = (each for each in report["findings"] if each["check"] == "net_force")
    assert found["severity"] == "error"
    assert found["indices"] == list(range(0, 60, 3))
    assert found["examples"][1] == {
        "index": 3,
        "sample_id": "emt/000003",
        "source": "runs/a.xyz",
        "frame": 3,
    }


def test_split_limits_samples(wrong, capsys):
    assert main(["data", "check", str(wrong), "--split", "val", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["split"], report["samples"]) == ("val", 2)
    assert main(["data", "check", str(wrong), "--split", "nope"]) == 1
    assert "has no split 'nope'" in capsys.readouterr().err
