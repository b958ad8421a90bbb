from pathlib import Path

import pytest
from matsciml.runs.plan import plan_run

DEFAULT = Path("default.yaml")


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def stopped():
    """A run that was interrupted."""
    run = Path("runs/mine")
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").touch()
    (run / "checkpoints/last.ckpt").touch()
    return run


def test_without_options_the_default_config_is_used_in_a_new_run():
    plan = plan_run("fit", [], DEFAULT)
    assert plan.arguments == ["--config", "default.yaml"]
    assert (plan.run, plan.checkpoint, plan.continued) == (Path("runs/fit"), None, False)
    assert not Path("runs").exists(), "planning makes nothing"


def test_name_and_place_come_from_the_command_line_or_a_config():
    Path("my.yaml").write_text("name: mine\nruns_dir: elsewhere\n")
    assert plan_run("fit", ["--config", "my.yaml"], DEFAULT).run == Path("elsewhere/mine")
    assert plan_run("fit", ["-c", "my.yaml", "--name=other"], DEFAULT).run == Path("elsewhere/other")
    assert plan_run("fit", ["--runs_dir", "here"], DEFAULT).run == Path("here/fit")


def test_last_continues_the_run_in_its_directory_with_its_config(stopped):
    plan = plan_run("fit", ["--name", "mine", "--ckpt_path", "last"], DEFAULT)
    assert (plan.run, plan.continued) == (stopped, True)
    assert plan.checkpoint == stopped / "checkpoints/last.ckpt"
    assert plan.arguments[:2] == ["--config", str(stopped / "config.yaml")]


def test_other_commands_write_beside_the_run(stopped):
    plan = plan_run("test", ["--name", "mine", "--ckpt_path", "last"], DEFAULT)
    assert (plan.run, plan.continued) == (Path("runs/mine-test"), False)
    path = str(stopped / "checkpoints/last.ckpt")
    plan = plan_run("test", ["--ckpt_path", path], DEFAULT)
    assert plan.run == Path("runs/test")
    assert plan.arguments == ["--config", str(stopped / "config.yaml"), "--ckpt_path", path]
    assert plan_run("test", ["--name", "mine", "--ckpt_path", path], DEFAULT).run == Path("runs/mine-test")


@pytest.mark.parametrize("command", ["test", "validate", "predict"])
def test_the_best_checkpoint_of_the_newest_run_is_evaluated(stopped, command):
    with pytest.raises(FileNotFoundError, match=r"has a last\.ckpt: --ckpt_path last\. Train one"):
        plan_run(command, ["--name", "mine"], DEFAULT)
    (stopped / "checkpoints/best.ckpt").touch()
    plan = plan_run(command, ["--name", "mine"], DEFAULT)
    assert plan.checkpoint == stopped / "checkpoints/best.ckpt"
    assert plan.config == str(stopped / "config.yaml")
    assert plan.run == Path(f"runs/mine-{command}")
    Path("my.yaml").write_text("name: mine\n")
    plan = plan_run(command, ["--config", "my.yaml"], DEFAULT)
    assert (plan.checkpoint, plan.config) == (stopped / "checkpoints/best.ckpt", "my.yaml")
    with pytest.raises(FileNotFoundError, match=r"'fit' under runs has a best\.ckpt.*--untrained"):
        plan_run(command, [], DEFAULT)
    plan = plan_run(command, ["--name", "mine", "--untrained"], DEFAULT)
    assert (plan.checkpoint, plan.config) == (None, str(stopped / "config.yaml"))
    assert plan_run(command, ["--untrained"], DEFAULT).config == "the default config"


def test_later_configs_win():
    Path("one.yaml").write_text("name: one\n")
    Path("two.yaml").write_text("name: two\n")
    assert plan_run("fit", ["--config", "one.yaml", "--config", "two.yaml"], DEFAULT).name == "two"


def test_a_config_says_where_its_fit_started(stopped):
    path = str(stopped / "checkpoints/last.ckpt")
    Path("again.yaml").write_text(f"name: mine\nckpt_path: {path}\nschedule: keep\n")
    plan = plan_run("fit", ["--config", "again.yaml"], DEFAULT)
    assert (str(plan.checkpoint), plan.schedule, plan.continued) == (path, "keep", False)
    plan = plan_run("fit", ["--config", "again.yaml", "--ckpt_path", "last"], DEFAULT)
    assert (plan.schedule, plan.continued) == (None, True)
    with pytest.raises(ValueError, match=r"which may be where its fit started: say which checkpoint to test"):
        plan_run("test", ["--config", "again.yaml"], DEFAULT)
    Path("init.yaml").write_text(f"name: mine\ninit_from: {path}\nnormalizer: keep\n")
    plan = plan_run("fit", ["--config", "init.yaml"], DEFAULT)
    assert (str(plan.init_from), plan.normalizer, plan.checkpoint) == (path, "keep", None)
    plan = plan_run("fit", ["--config", "init.yaml", "--ckpt_path", "last"], DEFAULT)
    assert (plan.init_from, str(plan.checkpoint)) == (None, path)


@pytest.mark.parametrize(
    ("command", "options", "message"),
    [
        ("fit", ["--untrained"], "--untrained evaluates random weights"),
        ("fit", ["--schedule", "keep"], "give --ckpt_path last, best or FILE with it"),
        ("fit", ["--normalizer", "keep"], "give --init_from with it"),
        ("fit", ["--init_from", "best"], "With keep, .* With refit, "),
        ("fit", ["--init_from", "best", "--normalizer", "new"], "--normalizer keep or refit, got 'new'"),
        ("fit", ["--init_from=best", "--normalizer=keep", "--ckpt_path=last"], "give one of the two"),
        (
            "fit",
            ["--init_from", "none.ckpt", "--normalizer", "keep"],
            r"--init_from none\.ckpt: no such file",
        ),
        ("test", ["--schedule", "keep"], "--schedule says how to train, and test does not"),
        ("validate", ["--optimizer.lr=1"], "--optimizer says how to train, and validate does not"),
        ("predict", ["--lr_scheduler", "StepLR"], "--lr_scheduler says how to train"),
        ("predict", ["--init_from", "best"], "--init_from says how to train"),
        ("predict", ["--return_predictions=true"], "--return_predictions has no effect"),
        ("test", ["--untrained", "--ckpt_path", "last"], "--untrained evaluates random weights"),
    ],
)
def test_options_that_would_be_ignored_are_refused(stopped, command, options, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        plan_run(command, ["--name", "mine", *options], DEFAULT)


def test_what_cannot_be_is_refused():
    with pytest.raises(FileNotFoundError, match=r"none\.ckpt"):
        plan_run("test", ["--ckpt_path", "none.ckpt"], DEFAULT)
    with pytest.raises(FileNotFoundError, match="no run named 'fit'"):
        plan_run("fit", ["--ckpt_path", "last"], DEFAULT)
    Path("bad.yaml").write_text("a: [\n")
    with pytest.raises(ValueError, match=r"bad\.yaml is not valid YAML"):
        plan_run("fit", ["--config", "bad.yaml"], DEFAULT)
