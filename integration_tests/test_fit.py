"""`matsciml fit` writes its files, repeats with the same seed and continues exactly."""

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from matsciml.cli import main
from support import QUICK, fit, weights


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return the directory of a short run of the default config."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("finished")
        patch.chdir(folder)
        assert fit() == 0
    return folder / "runs" / "fit"


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_run_directory_has_documented_files(finished):
    names = {p.name for p in finished.iterdir()}
    expected = {"config.yaml", "metrics.csv", "checkpoints", "report.html", "summary.json", "findings.json"}
    assert names == expected
    assert {p.name for p in (finished / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}


def test_summary_equals_logged_metrics(finished):
    summary = json.loads((finished / "summary.json").read_text())
    assert {"test", "config", "versions", "seconds"} <= summary.keys()
    assert {"energy_per_atom", "force"} <= summary["test"].keys()
    for errors in (summary["test"]["energy_per_atom"], summary["test"]["force"]):
        assert {"mae", "rmse", "r2", "baseline_mae"} <= errors.keys()
        assert 0 < errors["mae"] <= errors["rmse"]
    # The task computes the logged metric batch by batch. The summary is computed from all predictions.
    with (finished / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    logged = next(float(row["test_force_mae"]) for row in rows if row.get("test_force_mae"))
    assert summary["test"]["force"]["mae"] == pytest.approx(logged, rel=1e-4)


def test_seed_repeats_weights(finished):
    assert fit() == 0
    first, second = (weights(run / "checkpoints" / "last.ckpt") for run in (finished, Path("runs/fit")))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_fit_keeps_existing_run():
    Path("runs/fit").mkdir(parents=True)
    Path("runs/fit/mine.txt").write_text("keep me")
    assert fit("--trainer.limit_train_batches=1", "--trainer.max_epochs=1") == 0
    assert [p.name for p in Path("runs/fit").iterdir()] == ["mine.txt"]
    assert Path("runs/fit-2/summary.json").is_file()


@pytest.mark.parametrize(
    ("step", "done", "workers"),
    [
        pytest.param(2, 3, 0, id="mid-epoch"),
        pytest.param(7, 9, 0, id="last step of an epoch, which validates first"),
        pytest.param(11, 12, 2, id="workers that read ahead"),
    ],
)
def test_interrupted_run_continues_to_same_weights(finished, step, done, workers, capsys):
    data = [f"--data.init_args.num_workers={workers}"]
    interrupt = [
        "--trainer.callbacks+=support.SignalAtStep",
        f"--trainer.callbacks.init_args.step={step}",
    ]
    assert fit(*data, *interrupt) == 128 + signal.SIGTERM
    assert "--ckpt_path last" in capsys.readouterr().out
    stopped = torch.load("runs/fit/checkpoints/last.ckpt", weights_only=True)
    assert stopped["global_step"] == done
    assert main(["fit", "--ckpt_path", "last"]) == 0
    assert sorted(p.name for p in Path("runs").iterdir()) == ["fit"]
    whole, pieces = (
        weights(finished / "checkpoints/last.ckpt"),
        weights(Path("runs/fit/checkpoints/last.ckpt")),
    )
    assert all(torch.equal(whole[key], pieces[key]) for key in whole)
    assert _validation_rows(finished) == _validation_rows(Path("runs/fit"))


def test_ctrl_c_leaves_checkpoint():
    """A separate process receives SIGINT during training."""
    log = Path("log.txt")
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "matsciml", "fit", "--trainer.enable_progress_bar=false"],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            deadline = time.monotonic() + 200
            while not Path("runs/fit/metrics.csv").is_file():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.2)
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 128 + signal.SIGINT
        finally:
            process.kill()
            process.wait()
    assert "Traceback" not in log.read_text()
    assert torch.load("runs/fit/checkpoints/last.ckpt", weights_only=True)["global_step"] > 0


def test_test_and_predict_repeat_results(finished, monkeypatch, capsys):
    monkeypatch.chdir(finished.parent.parent)
    short = ["--trainer.enable_progress_bar=false", "--trainer.limit_test_batches=3"]
    assert main(["test", "--ckpt_path", "best", *short]) == 0
    again = json.loads(Path("runs/fit-test/summary.json").read_text())["test"]
    assert (
        again["force"]["mae"] == json.loads((finished / "summary.json").read_text())["test"]["force"]["mae"]
    )
    arguments = ["--trainer.enable_progress_bar=false", "--trainer.limit_predict_batches=2"]
    assert main(["predict", "--ckpt_path", "best", *arguments]) == 0
    lines = [json.loads(line) for line in Path("runs/fit-predict/predictions.jsonl").read_text().splitlines()]
    assert len(lines) == 32
    assert all(len(line["force"]) == line["natoms"] for line in lines)


def test_printed_config_runs(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--print_config"])
    assert stop.value.code == 0
    Path("my.yaml").write_text(capsys.readouterr().out)
    assert (
        fit("--config", "my.yaml", *QUICK, "--trainer.max_epochs=1", "--trainer.limit_train_batches=2") == 0
    )


def _validation_rows(run):
    """Return the rows of metrics.csv with validation losses, without times."""
    with (run / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row.get("val_loss")]
    return [(row["step"], row["val_loss"], row["val_force_mae"]) for row in rows]
