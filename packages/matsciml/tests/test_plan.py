from pathlib import Path

import pytest
from matsciml.plan import plan_run

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
    assert plan.arguments[-2:] == ["--ckpt_path", str(plan.checkpoint)]


def test_other_commands_write_beside_the_run(stopped):
    plan = plan_run("test", ["--name", "mine", "--ckpt_path", "last"], DEFAULT)
    assert (plan.run, plan.continued) == (Path("runs/mine-test"), False)
    path = str(stopped / "checkpoints/last.ckpt")
    plan = plan_run("test", ["--ckpt_path", path], DEFAULT)
    assert plan.run == Path("runs/test")
    assert plan.arguments == ["--config", str(stopped / "config.yaml"), "--ckpt_path", path]


def test_what_cannot_be_is_refused():
    with pytest.raises(FileNotFoundError, match=r"none\.ckpt"):
        plan_run("test", ["--ckpt_path", "none.ckpt"], DEFAULT)
    with pytest.raises(FileNotFoundError, match="no run named 'fit'"):
        plan_run("fit", ["--ckpt_path", "last"], DEFAULT)
    Path("bad.yaml").write_text("a: [\n")
    with pytest.raises(ValueError, match=r"bad\.yaml is not valid YAML"):
        plan_run("fit", ["--config", "bad.yaml"], DEFAULT)
