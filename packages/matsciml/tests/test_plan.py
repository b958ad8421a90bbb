from pathlib import Path

import pytest
from matsciml.runs.plan import plan_run

DEFAULT = Path("default.yaml")


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def stopped():
    """Directory of an interrupted run."""
    run = Path("runs/mine")
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").touch()
    (run / "checkpoints/last.ckpt").touch()
    return run


def test_fit_uses_default_config():
    plan = plan_run("fit", [], DEFAULT)
    assert plan.arguments == ["--config", "default.yaml"]
    assert (plan.run, plan.checkpoint, plan.continued) == (Path("runs/fit"), None, False)
    assert not Path("runs").exists(), "plan_run must not create files"


def test_config_and_options_determine_directory():
    Path("my.yaml").write_text("name: mine\nruns_dir: elsewhere\n")
    assert plan_run("fit", ["--config", "my.yaml"], DEFAULT).run == Path("elsewhere/mine")
    assert plan_run("fit", ["-c", "my.yaml", "--name=other"], DEFAULT).run == Path("elsewhere/other")
    assert plan_run("fit", ["--runs_dir", "here"], DEFAULT).run == Path("here/fit")


def test_last_continues_run_in_its_directory(stopped):
    plan = plan_run("fit", ["--name", "mine", "--ckpt_path", "last"], DEFAULT)
    assert (plan.run, plan.continued) == (stopped, True)
    assert plan.checkpoint == stopped / "checkpoints/last.ckpt"
    assert plan.arguments[:2] == ["--config", str(stopped / "config.yaml")]


def test_evaluation_writes_to_own_directory(stopped):
    plan = plan_run("test", ["--name", "mine", "--ckpt_path", "last"], DEFAULT)
    assert (plan.run, plan.continued) == (Path("runs/mine-test"), False)
    path = str(stopped / "checkpoints/last.ckpt")
    plan = plan_run("test", ["--ckpt_path", path], DEFAULT)
    assert plan.run == Path("runs/test")
    assert plan.arguments == ["--config", str(stopped / "config.yaml"), "--ckpt_path", path]
    assert plan_run("test", ["--name", "mine", "--ckpt_path", path], DEFAULT).run == Path("runs/mine-test")


@pytest.mark.parametrize("command", ["test", "validate", "predict"])
def test_evaluation_uses_newest_best_checkpoint(stopped, command):
    with pytest.raises(FileNotFoundError, match=r"last\.ckpt of runs/mine, pass --ckpt_path last\. Train"):
        plan_run(command, ["--name", "mine"], DEFAULT)
    (stopped / "checkpoints/best.ckpt").touch()
    plan = plan_run(command, ["--name", "mine"], DEFAULT)
    assert plan.checkpoint == stopped / "checkpoints/best.ckpt"
    assert plan.config == str(stopped / "config.yaml")
    assert plan.run == Path(f"runs/mine-{command}")
    Path("my.yaml").write_text("name: mine\n")
    plan = plan_run(command, ["--config", "my.yaml"], DEFAULT)
    assert (plan.checkpoint, plan.config) == (stopped / "checkpoints/best.ckpt", "my.yaml")
    with pytest.raises(FileNotFoundError, match=r"'fit' in runs has a best\.ckpt.*--untrained"):
        plan_run(command, [], DEFAULT)
    plan = plan_run(command, ["--name", "mine", "--untrained"], DEFAULT)
    assert (plan.checkpoint, plan.config) == (None, str(stopped / "config.yaml"))
    assert plan_run(command, ["--untrained"], DEFAULT).config == "the default config"


def test_later_config_takes_precedence():
    Path("one.yaml").write_text("name: one\n")
    Path("two.yaml").write_text("name: two\n")
    assert plan_run("fit", ["--config", "one.yaml", "--config", "two.yaml"], DEFAULT).name == "two"


def test_config_records_start(stopped):
    path = str(stopped / "checkpoints/last.ckpt")
    Path("again.yaml").write_text(f"name: mine\nckpt_path: {path}\nschedule: keep\n")
    plan = plan_run("fit", ["--config", "again.yaml"], DEFAULT)
    assert (str(plan.checkpoint), plan.schedule, plan.continued) == (path, "keep", False)
    plan = plan_run("fit", ["--config", "again.yaml", "--ckpt_path", "last"], DEFAULT)
    assert (plan.schedule, plan.continued) == (None, True)
    with pytest.raises(ValueError, match=r"its fit started from; pass the checkpoint to test as"):
        plan_run("test", ["--config", "again.yaml"], DEFAULT)
    Path("init.yaml").write_text(f"name: mine\ninit_from: {path}\nnormalizer: keep\n")
    plan = plan_run("fit", ["--config", "init.yaml"], DEFAULT)
    assert (str(plan.init_from), plan.normalizer, plan.checkpoint) == (path, "keep", None)
    plan = plan_run("fit", ["--config", "init.yaml", "--ckpt_path", "last"], DEFAULT)
    assert (plan.init_from, str(plan.checkpoint)) == (None, path)


@pytest.mark.parametrize(
    ("command", "options", "message"),
    [
        ("fit", ["--untrained"], "--untrained has no effect on fit"),
        ("fit", ["--schedule", "keep"], "--schedule requires --ckpt_path"),
        ("fit", ["--normalizer", "keep"], "--normalizer requires --init_from"),
        ("fit", ["--init_from", "best"], "requires --normalizer keep or refit. keep uses .* refit computes"),
        ("fit", ["--init_from", "best", "--normalizer", "new"], "--normalizer keep or refit, got 'new'"),
        (
            "fit",
            ["--init_from=best", "--normalizer=keep", "--ckpt_path=last"],
            "--init_from exclude each other",
        ),
        (
            "fit",
            ["--init_from", "none.ckpt", "--normalizer", "keep"],
            r"--init_from none\.ckpt does not exist",
        ),
        ("test", ["--schedule", "keep"], "--schedule has no effect on test, which does not train"),
        ("validate", ["--optimizer.lr=1"], "--optimizer has no effect on validate"),
        ("predict", ["--lr_scheduler", "StepLR"], "--lr_scheduler has no effect on predict"),
        ("predict", ["--init_from", "best"], "--init_from has no effect on predict"),
        ("predict", ["--return_predictions=true"], "--return_predictions has no effect"),
        ("test", ["--untrained", "--ckpt_path", "last"], "--untrained and --ckpt_path exclude each other"),
    ],
)
def test_ignored_option_raises(stopped, command, options, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        plan_run(command, ["--name", "mine", *options], DEFAULT)


def test_invalid_option_raises():
    with pytest.raises(FileNotFoundError, match=r"none\.ckpt"):
        plan_run("test", ["--ckpt_path", "none.ckpt"], DEFAULT)
    with pytest.raises(FileNotFoundError, match="no run named 'fit'"):
        plan_run("fit", ["--ckpt_path", "last"], DEFAULT)
    Path("bad.yaml").write_text("a: [\n")
    with pytest.raises(ValueError, match=r"bad\.yaml is not valid YAML"):
        plan_run("fit", ["--config", "bad.yaml"], DEFAULT)
