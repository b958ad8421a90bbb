"""`test`, `validate` and `predict` print the checkpoint that they use. Random weights need `--untrained`."""

import json
from pathlib import Path

import pytest
from matsciml.cli import main

TINY = ["--data.init_args.batch_size=2", "--trainer.limit_train_batches=4", "--trainer.limit_val_batches=2"]
TINY += ["--trainer.limit_test_batches=2", "--trainer.limit_predict_batches=2"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return the folder of two runs with the same name. The newer one has another encoder."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("trained")
        patch.chdir(folder)
        for encoder in ("SchNet", "EGNN"):
            options = [f"--model.init_args.encoder=mml_models.{encoder}", "--trainer.max_epochs=2"]
            assert main(["fit", "--name=mine", *TINY, *options]) == 0
    return folder


def force_mae(run):
    return json.loads((Path("runs") / run / "summary.json").read_text())["test"]["force"]["mae"]


def test_test_uses_newest_run(trained, monkeypatch, capsys):
    monkeypatch.chdir(trained)
    assert main(["test", "--name=mine"]) == 0
    said = "matsciml test: runs/mine-2/checkpoints/best.ckpt, config runs/mine-2/config.yaml"
    assert said in capsys.readouterr().out
    assert force_mae("mine-2-test") == pytest.approx(force_mae("mine-2"), rel=1e-6)
    assert (
        main(["test", "--config=runs/mine/config.yaml", "--ckpt_path=runs/mine/checkpoints/best.ckpt"]) == 0
    )
    assert force_mae("mine-test") == pytest.approx(force_mae("mine"), rel=1e-6)


def test_validate_and_predict_use_newest_run(trained, monkeypatch, capsys):
    monkeypatch.chdir(trained)
    assert main(["validate", "--name=mine"]) == 0
    assert "validate: runs/mine-2/checkpoints/best.ckpt" in capsys.readouterr().out
    assert main(["predict", "--name=mine"]) == 0
    assert "predict: runs/mine-2/checkpoints/best.ckpt" in capsys.readouterr().out
    assert len(Path("runs/mine-2-predict/predictions.jsonl").read_text().splitlines()) == 4


@pytest.mark.parametrize("command", ["test", "validate", "predict"])
def test_evaluation_requires_run(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([command, "--name=other"]) == 1
    said = capsys.readouterr().err
    for part in ("no run named 'other' in runs", "matsciml fit", "--ckpt_path FILE", "--untrained"):
        assert part in said
    assert not list(tmp_path.iterdir())


def test_untrained_evaluates_random_weights(trained, monkeypatch, capsys):
    monkeypatch.chdir(trained)
    assert main(["test", "--name=mine", "--untrained"]) == 0
    said = "matsciml test: untrained (random weights), config runs/mine-2/config.yaml"
    assert said in capsys.readouterr().out
    assert force_mae("mine-test-2" if Path("runs/mine-test-2").exists() else "mine-test") != force_mae(
        "mine-2"
    )
