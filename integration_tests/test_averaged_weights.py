"""With any weight averaging, a fit reports the weights in best.ckpt, and every command loads them."""

import csv
import json
from pathlib import Path

import pytest
import torch
from matsciml.cli import main
from matsciml.runs.trained import load_trained
from mml_data import MatSciMLDataModule
from mml_tasks import ForceRegressionTask

TINY = [
    "--data.init_args.batch_size=2",
    "--trainer.limit_train_batches=4",
    "--trainer.limit_val_batches=2",
    "--trainer.limit_test_batches=2",
    "--trainer.max_epochs=3",
]
AVERAGES = {
    "ours": ["ExponentialMovingAverageCallback", "decay=0.8"],
    "ours, later": ["ExponentialMovingAverageCallback", "update_starting_at_step=9"],
    "Lightning's EMA": ["EMAWeightAveraging", "decay=0.8"],
    "Lightning's mean": ["WeightAveraging", "use_buffers=false"],
    "SWA": ["StochasticWeightAveraging", "swa_lrs=0.005", "swa_epoch_start=1"],
}


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def fit(name, *options, more=()):
    callback = [f"--trainer.callbacks+={name}", *(f"--trainer.callbacks.{option}" for option in options)]
    return main(["fit", *TINY, "--model.init_args.scheduler_kwargs=null", *callback, *more])


def errors(run):
    tested = json.loads((Path("runs") / run / "summary.json").read_text())["test"]
    return [tested[quantity][error] for quantity in ("energy_per_atom", "force") for error in ("mae", "rmse")]


def load(name, run="fit"):
    return torch.load(Path("runs") / run / "checkpoints" / name, weights_only=True)


def val_losses(run="fit"):
    with (Path("runs") / run / "metrics.csv").open() as file:
        return [float(row["val_loss"]) for row in csv.DictReader(file) if row.get("val_loss")]


def errors_of(task):
    """Return the same four errors of a task, computed from its predictions on the same batches."""
    data = MatSciMLDataModule.from_devset("emt", batch_size=2, transforms=load_trained(BEST).transforms)
    data.setup("test")
    pairs = {"energy": [], "force": []}
    for index, batch in enumerate(data.test_dataloader()):
        if index == 2:
            break
        found = task.predict(batch)
        for key, scale in (("energy", batch["natoms"].reshape(-1)), ("force", 1)):
            off = found[key].reshape(-1) - batch["targets"][key].reshape(-1)
            pairs[key].append(off.double() / scale)
    off = [torch.cat(pairs[key]) for key in ("energy", "force")]
    return [float(value) for e in off for value in (e.abs().mean(), (e**2).mean().sqrt())]


BEST = Path("runs/fit/checkpoints/best.ckpt")


@pytest.mark.parametrize("average", AVERAGES)
def test_commands_use_same_weights(average, capsys):
    assert fit(*AVERAGES[average]) == 0
    reported = errors("fit")
    assert main(["test", "--trainer.limit_test_batches=2"]) == 0
    assert errors("fit-test") == pytest.approx(reported, rel=1e-6)
    trained = load_trained(BEST).task
    assert errors_of(trained) == pytest.approx(reported, rel=1e-4)
    fine = ForceRegressionTask.from_pretrained_encoder(BEST)
    for name, value in load("best.ckpt")["state_dict"].items():
        assert torch.equal(trained.state_dict()[name], value)
        if name.startswith("encoder."):
            assert torch.equal(fine.state_dict()[name], value)


@pytest.mark.parametrize("rate", [0.02, 0.002])
def test_swa_mean_becomes_best_if_better(rate, capsys):
    """The mean is better if single epochs overshoot. The last epoch is better if they improve steadily."""
    options = [f"swa_lrs={rate}", "swa_epoch_start=2"]
    more = [f"--model.init_args.lr={rate}", "--trainer.max_epochs=8", "--trainer.limit_val_batches=8"]
    assert fit("StochasticWeightAveraging", *options, more=more) == 0
    shown = " ".join(capsys.readouterr().out.split())
    *epochs, mean = val_losses()
    assert len(epochs) == 8
    saved, raw = torch.load(BEST, weights_only=True), load("last.ckpt")["state_dict"]
    kept = saved["callbacks"]["matsciml.BestCheckpoint"]["best_model_score"]
    assert float(kept) == pytest.approx(min(*epochs, mean))
    assert ("; saved as best.ckpt" in shown) == (mean < min(epochs))
    assert ("best.ckpt is kept" in shown) == (mean >= min(epochs))
    if mean < min(epochs):
        assert any(not torch.equal(saved["state_dict"][name], raw[name]) for name in raw)
    assert load("last.ckpt")["epoch"] == 7, "last.ckpt must contain the state of training"


@pytest.mark.parametrize("option", ["update_starting_at_step=3", "update_every_n_steps=0"])
def test_late_average_is_refused(option, capsys):
    assert fit("EMAWeightAveraging", option) == 1
    said = capsys.readouterr().err
    assert "mml_diagnostics.ExponentialMovingAverageCallback" in said
    assert not Path("runs").exists()
