"""`tools/prose` matches the phrases of each pattern and accepts similar plain English."""

import importlib.util
import subprocess
import sys
from importlib.machinery import SourceFileLoader

import pytest
from support import ROOT

SCRIPT = ROOT / "tools/prose"


@pytest.fixture(scope="module")
def prose():
    loader = SourceFileLoader("prose", str(SCRIPT))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("prose", loader))
    sys.modules["prose"] = module
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
        yield module
    finally:
        sys.dont_write_bytecode = before
        del sys.modules["prose"]


def found(prose, text):
    return [name for name, _ in prose.search(prose.prose(text, markdown=True))]


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("where", "It grows where an atom has no neighbor."),
        ("where", "Where a label is missing, it is NaN."),
        ("where", "An encoder, where `cutoff` was given, stops there."),
        ("clause", "It returns what the encoder gives."),
        ("clause", "What is returned has no cell."),
        ("clause", "It keeps whoever ties with the k-th."),
        ("clause", "They show which is which."),
        ("is no", "This is no class."),
        ("is no", "The inputs are no `Sample`."),
        ("says", "The message says so."),
        ("says", "It is said in the log."),
        ("says", "A line tells how often."),
        ("says", "Set the variable, or say `--all`."),
        ("cannot be", "On an argument that cannot be, it raises."),
        ("cannot be", "On a structure that cannot be"),
        ("there", "ASE has to be there."),
        ("there", "It is skipped if DGL is not there."),
        ("there", "It reads what there is."),
        ("filler", "Each has a process of its own."),
        ("filler", "It starts by itself."),
        ("filler", "The error is in one sentence."),
        ("filler", "A batch holds graphs."),
        ("filler", "The name stands in the config."),
    ],
)
def test_pattern_matches_phrase(prose, pattern, text):
    assert pattern in found(prose, text)


@pytest.mark.parametrize(
    "text",
    [
        "It grows if an atom has no neighbor, and writes the place where it stopped to the file.",
        "The message shows where each rank runs. Use float64 where possible.",
        "The weight is `w * x`, where `w` is positive and x, where x is a vector, is long.",
        "Where do the files go? What is a target?",
        "It returns the output of the encoder. Nobody knows what happened or what to do.",
        "There is no cell. The file is no longer used, and this is no more than a hint.",
        "The message reports it, and two vectors tell directions apart.",
        "An argument cannot be negative.",
        "Install ASE if it is not installed. There are two. Is there a cell?",
        "The threshold holds for all; B stands for the batch. It is a stand-in with its own seed.",
        "# What the encoder gives",
    ],
)
def test_plain_text_has_no_match(prose, text):
    assert found(prose, text) == []


@pytest.mark.parametrize(
    "code",
    [
        "`where it is`",
        "``what is``",
        "```python\nwhere = what_is  # what is no class\n```",
        "Text:\n\n    say what is there\n\n    holds\n",
        ">>> where('what is')\nsays\n",
        ".. math:: x\n\n   where it is\n\nText",
        "[text](https://site/what the)",
        "{py:obj}`what is`",
    ],
)
def test_code_has_no_match(prose, code):
    assert found(prose, f"# Title\n\n{code}\n") == []


def test_line_breaks_do_not_hide_a_phrase_or_move_its_line(prose):
    lines = ["```", "what is", "```", "", "Some text, and what", "  the encoder returns.", "", "- a file"]
    text = "\n".join([*lines, "- where it is"])
    assert sorted(prose.search(prose.prose(text, markdown=True))) == [("clause", 5), ("where", 8)]


def run(*arguments):
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_command_lists_matches_in_docstrings(tmp_path):
    file = tmp_path / "module.py"
    file.write_text('"""One line.\n\nIt is no class.\n"""\n\n\nvalue = "it says"  # where it is not\n')
    done = run("--list", "is no", file)
    assert done.returncode == 1
    assert f"{file}:3: It is no class." in done.stdout
    assert [line.split()[-3] for line in done.stdout.splitlines() if line.startswith("says")] == ["0"]
    assert f"{file}:3: [is no] It is no class." in run("--files", file).stdout


def test_command_accepts_a_rate_at_the_limit(tmp_path):
    file = tmp_path / "page.md"
    file.write_text("It says so. " + "word " * 1000)
    assert run(file).returncode == 0
    file.write_text("It says so. It says so. " + "word " * 1000)
    assert run(file).returncode == 1


def test_command_reads_the_workspace():
    done = run("--list", "where")
    words = int(done.stdout.splitlines()[-1].split()[0].replace(",", ""))
    assert words > 50_000


def test_command_rejects_an_unknown_pattern():
    done = run("--list", "whence")
    assert done.returncode == 2
    assert "cannot be" in done.stderr
