import json
import subprocess
import sys

import pytest
from lightning_fabric.utilities.exceptions import MisconfigurationException
from matsciml.cli import COMMANDS, HELP, main, sentence


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_fits_terminal(arguments, capsys):
    assert max(map(len, HELP.splitlines())) <= 80
    assert main(arguments) == 0
    assert capsys.readouterr().out == HELP


def test_help_all_lists_all_options(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--help-all"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for option in ("--trainer.max_epochs", "--seed_everything", "--runs_dir", "--model.help", "--data.help"):
        assert option in text


WITHOUT_TORCH = [
    ["--help"],
    ["--version"],
    ["unknown"],
    *([command, "--help"] for command in COMMANDS),
    ["data", "info", "emt"],
    ["data", "show", "emt", "3"],
    ["data", "stats", "emt"],
    ["data", "verify", "emt"],
    ["data", "import", "atoms.jsonl", "atoms"],
    ["data", "split", "atoms"],
    ["init", "mine"],
]
WITH_TORCH = [["data", "precompute", "atoms", "edges", "--cutoff", "4"]]
"""Commands that need neither a model nor a trainer, without and with torch."""

HEAVY = ("pytorch_lightning", "lightning", "torch_geometric", "torchmetrics", "mml_models", "mml_tasks")


def test_light_commands_load_no_training_libraries(tmp_path):
    """One process runs all commands, and checks its modules after each one."""
    line = {"atomic_numbers": [11], "positions": [[0, 0, 0]], "targets": {"energy": 1.0}}
    (tmp_path / "atoms.jsonl").write_text("\n".join(json.dumps(line) for _ in range(10)) + "\n")
    code = f"""
import sys
from matsciml.cli import main
for arguments in {[*WITHOUT_TORCH, *WITH_TORCH]!r}:
    try:
        main(arguments)
    except SystemExit:  # argparse exits after its help
        pass
    heavy = [name for name in {HEAVY!r} if name in sys.modules]
    heavy += ["torch"] if arguments in {WITHOUT_TORCH!r} and "torch" in sys.modules else []
    assert not heavy, (arguments, heavy)
    """
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "mine.yaml").is_file()
    assert (tmp_path / "edges").is_dir()


@pytest.mark.parametrize(
    ("command", "hint"), [("fti", "did you mean 'fit'?"), ("launch", "the commands are fit, validate")]
)
def test_unknown_command_lists_known(command, hint, capsys):
    assert main([command]) == 2
    assert f"unknown command {command!r}; {hint}" in capsys.readouterr().err


def test_debug_raises_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError):
        main(["fit", "--ckpt_path", "last", "--debug"])


def test_version_is_printed(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == "matsciml 0.1.0\n"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("two\n  lines"), "two lines"),
        (KeyError("no key 'a'"), "no key 'a'"),
        (MisconfigurationException("no GPU"), "no GPU"),
        (RuntimeError("odd"), "RuntimeError: odd (run with --debug to see the traceback)"),
        (ValueError(), "ValueError:  (run with --debug to see the traceback)"),
        (AssertionError(), "AssertionError:  (run with --debug to see the traceback)"),
    ],
)
def test_error_becomes_one_line(error, text):
    assert sentence(error) == text


def test_own_error_omits_type():
    from mml_distributed import read_launch

    with pytest.raises(RuntimeError) as ours:
        read_launch({})
    assert sentence(ours.value) == " ".join(str(ours.value).split())
