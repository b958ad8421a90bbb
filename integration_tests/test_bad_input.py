"""Invalid input of the command line is refused in one sentence, and no files are left behind."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from matsciml.cli import main
from mml_data import LMDBWriter
from support import QUICK, fit


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def refused(capsys):
    """Return a function that runs a command, checks that it is refused, and returns the message."""

    def run(*arguments: str) -> str:
        before = sorted(Path().rglob("*"))
        assert main(arguments) not in (0, None)
        lines = capsys.readouterr().err.strip().splitlines()
        sentence = lines[-1]
        assert sentence.startswith("matsciml: error: ")
        assert "Traceback" not in "\n".join(lines)
        assert sorted(Path().rglob("*")) == before, "a refused command must not leave files behind"
        return sentence

    return run


def sample(numbers=(29, 29), energy=-1.0, **changes):
    """Return a two-atom crystal that can be stored."""
    n = len(numbers)
    pos = np.zeros((n, 3)) + np.arange(n)[:, None] * 1.8
    targets = {"energy": torch.tensor(energy), "force": torch.zeros(n, 3)}
    whole = {
        "atomic_numbers": torch.tensor(numbers),
        "pos": torch.tensor(pos),
        "cell": torch.eye(3, dtype=torch.float64).reshape(1, 3, 3) * 3.6,
        "pbc": torch.tensor([True, True, True]),
        "targets": targets,
        "target_types": {"regression": list(targets), "classification": []},
    }
    return whole | changes


def write(path, samples):
    """Write a data set whose samples are distributed over three splits."""
    with LMDBWriter(path) as writer:
        for one in samples:
            writer.add(one)
        third = len(samples) // 3
        indices = np.arange(len(samples))
        writer.set_splits(
            {"train": indices[: -2 * third], "val": indices[-2 * third : -third], "test": indices[-third:]}
        )
    return str(path)


def test_missing_data_path_is_refused(refused):
    text = refused(
        "fit", *QUICK, "--data.init_args.dataset=null", "--data.init_args.train_path=no/such/place"
    )
    assert "no/such/place" in text
    assert "matsciml data import" in text


def test_misspelled_key_suggests_name(refused):
    Path("top.yaml").write_text(yaml.safe_dump({"trainr": {"max_epochs": 3}}))
    assert "trainr" in (text := refused("fit", "--config", "top.yaml"))
    assert "did you mean 'trainer'?" in text
    text = refused("fit", "--trainer.max_epoch", "3")
    assert "did you mean 'trainer.max_epochs'?" in text
    text = refused("fit", "--model.init_args.encoder.init_args.hiden_dim=3")
    assert "mml_models.SchNet" in text
    assert "did you mean 'hidden_dim'?" in text
    text = refused("fit", "--model.init_args.learning_rat=3")
    assert "learning_rat" in text
    assert refused("fit", "--model.class_path=mml_tasks.ForceTask").count("ForceTask") >= 1
    assert "abc" in refused("fit", "--model.init_args.lr=abc")
    assert "missing.yaml" in refused("fit", "--config", "missing.yaml")
    Path("broken.yaml").write_text("model: [\n")
    assert "broken.yaml" in refused("fit", "--config", "broken.yaml")


def test_invalid_argument_names_value(refused):
    text = refused("fit", "--data.init_args.batch_size=0")
    assert text == "matsciml: error: batch_size must be at least 1, got 0"
    text = refused("fit", "--model.init_args.task_loss_scaling={stress: 1.0}")
    assert "stress" in text
    assert "['energy', 'force']" in text
    assert "'nonexist'" in refused("fit", "--data.init_args.dataset=nonexist")
    text = refused("fit", *QUICK, "--model.init_args.encoder.init_args.cutoff=6")
    assert "PeriodicPropertiesTransform" in text


def test_missing_device_names_remedy(refused):
    assert "--torch-backend=xpu" in refused("fit", "--trainer.accelerator=xpu")
    assert "mpirun" in refused("fit", "--trainer.strategy=ddp_with_mpi")


def test_missing_target_lists_targets(refused):
    config = Path(__file__).parent.parent / "examples/configs/prototypes.yaml"
    text = refused("fit", "--config", str(config), "--model.init_args.task_keys=[band_gap]")
    assert "band_gap" in text
    assert "density" in text


def test_unknown_element_names_sample(refused):
    text = refused("fit", *QUICK, "--model.init_args.encoder.init_args.num_atom_embedding=40")
    assert any(z in text for z in ("46", "47", "78", "79"))
    assert "num_atom_embedding" in text
    assert "emt/" in text


def test_invalid_structure_names_sample(refused):
    no_cell = torch.zeros(1, 3, 3)
    flat = write("flat", [sample(energy=0.1 * i, cell=no_cell) for i in range(6)])
    text = refused("fit", *QUICK, "--data.init_args.dataset=null", f"--data.init_args.train_path={flat}")
    assert "flat/" in text
    assert "cell" in text
    assert "volume" in text
    nan = sample(pos=torch.full((2, 3), float("nan")))
    with pytest.raises(ValueError, match=r"sample 0.*pos of the sample must be finite, got nan"):
        write("nan", [nan] * 6)
    line = {"atomic_numbers": [29, 29], "positions": [[0, 0, 0], [1.8, 1.8, 0]], "pbc": [True] * 3}
    line |= {"cell": np.zeros((3, 3)).tolist(), "targets": {"energy": 0.0}}
    Path("flat.jsonl").write_text(json.dumps(line) + "\n")
    assert "flat.jsonl:1" in (text := refused("data", "import", "flat.jsonl", "out"))
    assert "cell" in text
    line |= {"cell": (np.eye(3) * 3.6).tolist(), "positions": [[0, 0, 0], [float("nan"), 0, 0]]}
    Path("nan.jsonl").write_text(json.dumps(line) + "\n")
    assert "nan.jsonl:1" in (text := refused("data", "import", "nan.jsonl", "out"))
    assert "pos" in text


def test_checkpoint_of_other_model_is_refused(refused):
    assert (
        fit("--trainer.max_epochs=1", "--trainer.limit_train_batches=1", "--trainer.limit_test_batches=1")
        == 0
    )
    checkpoint = "runs/fit/checkpoints/last.ckpt"
    text = refused("fit", *QUICK, "--model.init_args.encoder=mml_models.EGNN", "--ckpt_path", checkpoint)
    assert checkpoint in text
    assert "does not match the configured ForceRegressionTask" in text
    text = refused("test", "--model.init_args.encoder.init_args.hidden_dim=48", "--ckpt_path", checkpoint)
    assert "shape" in text
    Path("not.ckpt").write_text("nonsense")
    assert "not.ckpt" in refused("test", "--ckpt_path", "not.ckpt")
    assert "none.ckpt" in refused("test", "--ckpt_path", "none.ckpt")


def test_last_requires_run(refused):
    assert "no run named 'fit'" in refused("fit", "--ckpt_path", "last")


def test_directory_without_manifest_is_refused(refused):
    Path("empty").mkdir()
    text = refused("fit", *QUICK, "--data.init_args.dataset=null", "--data.init_args.train_path=empty")
    assert "empty" in text
    assert "manifest.json" in text
    assert "empty" in refused("data", "info", "empty")


def test_run_name_with_slash_is_refused(refused):
    assert "'a/b'" in refused("fit", *QUICK, "--name", "a/b")
