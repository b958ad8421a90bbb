"""Every Python snippet of the documents and every example runs, and every shown command is valid."""

import re
import runpy
import shlex
from pathlib import Path

import pytest
from matsciml.cli import main
from matsciml.commands.data import data_parser
from support import QUICK, ROOT, SHARED, needs_shared

DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("packages/*/README.md")])
SLOW = {"packages/mml-models/README.md", "docs/diagnostics.md", "ase_md.py"}
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def blocks(language):
    """Return the fenced blocks of each document in one language, joined, as test parameters."""
    found = {}
    for document in DOCUMENTS:
        parts = [
            text for kind, text in BLOCK.findall(document.read_text(encoding="utf-8")) if kind == language
        ]
        if parts:
            found[str(document.relative_to(ROOT))] = "\n".join(parts)
    return [case(text, name) for name, text in found.items()]


def case(value, name):
    return pytest.param(value, id=name, marks=[pytest.mark.slow] if name in SLOW else [])


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("code", blocks("python"))
def test_python_snippets_run(code):
    exec(compile(code, "<snippet>", "exec"), {"__name__": "snippet"})


@pytest.mark.parametrize("script", [case(path, path.name) for path in sorted(ROOT.glob("examples/*.py"))])
def test_examples_run(script, capsys):
    runpy.run_path(str(script), run_name="__main__")
    assert capsys.readouterr().out


@pytest.mark.parametrize("code", blocks("shell"))
def test_commands_have_valid_options(code, capsys):
    """Lines with `matsciml fit` are run with --print_config. Other tests run the other commands."""
    for line in code.splitlines():
        words = shlex.split(line.split("#")[0].split(">")[0])
        if words[:1] == ["mpirun"]:
            words = words[words.index("matsciml") :]
        if words[:2] == ["matsciml", "data"]:
            assert data_parser().parse_args(words[2:]).action is not None
            continue
        if words[:2] != ["matsciml", "fit"] or {"--ckpt_path", "--config", "--init_from"} & set(words):
            continue
        with pytest.raises(SystemExit) as stop:
            main([*words[1:], *(["--print_config"] if "--print_config" not in words else [])])
        assert stop.value.code == 0, capsys.readouterr().err


@pytest.mark.parametrize("name", ["prototypes", "crystal_system"])
def test_configs_train_on_embedded_data(name):
    config = ROOT / "examples/configs" / f"{name}.yaml"
    assert main(["fit", "--config", str(config), *QUICK]) == 0
    assert Path("runs/fit/report.html").is_file() or Path("runs", name, "report.html").is_file()


@needs_shared
@pytest.mark.parametrize("name", ["lips", "materials_project"])
def test_configs_train_on_real_data(name):
    assert main(["data", "import", str(SHARED / "data" / f"{name}.jsonl"), name]) == 0
    config = ROOT / "examples/configs" / f"{name}.yaml"
    assert main(["fit", "--config", str(config), "--data.init_args.train_path", name, *QUICK]) == 0
