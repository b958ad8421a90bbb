"""Options that a run would record and ignore are refused before it begins."""

from pathlib import Path

import pytest
from matsciml.cli import main

ADAM = ["--optimizer=Adam", "--optimizer.lr=0.001"]
NO_SCHEDULE = "--model.init_args.scheduler_kwargs=null"


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ["--lr_scheduler=StepLR", "--lr_scheduler.step_size=1"],
            "has no effect without --optimizer: give both",
        ),
        (["--lr_scheduler=StepLR", "--lr_scheduler.step_size=1"], "scheduler_kwargs '{StepLR: {}}'"),
        (ADAM, "add --model.init_args.scheduler_kwargs null"),
        ([*ADAM, NO_SCHEDULE, "--model.init_args.weight_decay=0.1"], "add --model.init_args.weight_decay 0"),
        ([*ADAM, NO_SCHEDULE, "--model.init_args.lr_scaling=sqrt"], "add --model.init_args.lr_scaling null"),
        ([*ADAM, NO_SCHEDULE, "--model.init_args.lr=0.1"], "give --optimizer.lr, or leave out --optimizer"),
        ([*ADAM, NO_SCHEDULE, "--model.lr=0.1"], "give --optimizer.lr, or leave out --optimizer"),
        (["--trainer.logger=false"], "every run writes metrics.csv"),
        (["--trainer.default_root_dir=here"], "give --runs_dir and --name"),
        (["--trainer.barebones=true"], "trainer.barebones true cannot be used"),
        (["--overwrite"], "there is no option --overwrite"),
    ],
)
def test_fit_refuses(options, said, capsys):
    assert main(["fit", *options]) == 1
    assert said in " ".join(capsys.readouterr().err.split())
    assert not list(Path().iterdir())


def test_an_optimizer_trains_what_the_data_add(capsys):
    """Heads of targets that are found in the data, and the rate that is not used is said and recorded."""
    tiny = [
        "--trainer.limit_train_batches=2",
        "--trainer.limit_val_batches=1",
        "--trainer.limit_test_batches=1",
    ]
    assert main(["init", "mine", "--data", "prototypes"]) == 0
    text = Path("mine.yaml").read_text().replace("    task_keys: [", "    # task_keys: [")
    Path("mine.yaml").write_text(text)
    more = ["--trainer.max_epochs=1", "--data.init_args.batch_size=4", NO_SCHEDULE]
    assert main(["fit", "--config", "mine.yaml", *tiny, *more, *ADAM]) == 0
    assert "model lr 0.002 is not used: the optimizer is torch.optim.Adam" in capsys.readouterr().out
    assert Path("runs/mine/config.yaml").read_text().startswith("# model lr 0.002 is not used")
    import torch

    saved = torch.load("runs/mine/checkpoints/last.ckpt", weights_only=True)
    (group,) = saved["optimizer_states"][0]["param_groups"]
    trained = [name for name in saved["state_dict"] if not name.startswith(("normalizers", "metrics"))]
    assert any(name.startswith("output_heads") for name in trained)
    assert len(saved["optimizer_states"][0]["state"]) == len(group["params"])
    assert len(group["params"]) >= sum(name.startswith("output_heads") for name in trained) + 1
