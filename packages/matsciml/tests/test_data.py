import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from matsciml.cli import main
from mml_data import Manifest


@pytest.mark.parametrize("name", ["emt", "prototypes"])
def test_info_fits_terminal(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["data", "info", name]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    for word in ("train", "val", "test", "structures", "target"):
        assert word in text


def test_import_writes_and_describes_dataset(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    line = {"atomic_numbers": [11, 17], "positions": [[0, 0, 0], [2.8, 0, 0]], "pbc": [True] * 3}
    line |= {"cell": [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]]}
    lines = [json.dumps(line | {"targets": {"energy": -6.0 + 0.1 * i}}) for i in range(10)]
    (tmp_path / "salt.jsonl").write_text("\n".join(lines) + "\n")
    assert main(["data", "import", "salt.jsonl", "salt"]) == 0
    text = capsys.readouterr().out
    assert "8 train, 1 val, 1 test" in text
    assert "Cl Na" in text
    assert main(["data", "import", "salt.jsonl", "salt"]) == 1
    assert "salt" in capsys.readouterr().err
    assert main(["data", "import", "salt.jsonl", "salt", "--overwrite", "--splits", "0.5", "0.3", "0.2"]) == 0
    assert "5 train, 3 val, 2 test" in capsys.readouterr().out


def test_import_records_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "my files"
    folder.mkdir()
    line = {"atomic_numbers": [11], "positions": [[0, 0, 0]]}
    lines = [json.dumps(line | {"targets": {"energy": float(i), "gap": 1.0}}) for i in range(10)]
    (folder / "salt.jsonl").write_text("\n".join(lines) + "\n")
    typed = [
        "import",
        "my files/salt.jsonl",
        "./salt",
        "--targets",
        "energy",
        "--splits",
        *["0.5", "0.3", "0.2"],
    ]
    assert main(["data", *typed, "--seed=3"]) == 0
    command = "matsciml data " + shlex.join([*typed, "--seed=3"])
    assert Manifest.read("salt").source["command"] == command
    assert "'my files/salt.jsonl'" in command
    monkeypatch.setenv("COLUMNS", "300")
    capsys.readouterr()
    assert main(["data", "info", "salt"]) == 0
    assert command in capsys.readouterr().out
    # The recorded command creates the same data set again.
    before = Manifest.read("salt")
    shutil.rmtree("salt")
    assert main(shlex.split(command)[1:]) == 0
    assert Manifest.read("salt") == before


def test_info_counts_structures_without_label(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    force = [[0.0, 0.0, 1.0]] * 2
    line = {"atomic_numbers": [11, 17], "positions": [[0, 0, 0], [2.8, 0, 0]]}
    lines = [
        json.dumps(line | {"targets": {"energy": -6.0, "force": force if i else None}}) for i in range(10)
    ]
    (tmp_path / "salt.jsonl").write_text("\n".join(lines) + "\n")
    assert main(["data", "import", "salt.jsonl", "salt"]) == 0
    (row,) = (text for text in capsys.readouterr().out.splitlines() if text.startswith("force"))
    assert row.split()[-3:] == ["54", "1", "structure"]


def test_data_without_command_prints_help(capsys):
    assert main(["data"]) == 0
    assert "import" in capsys.readouterr().out


@pytest.fixture
def salt(tmp_path, monkeypatch):
    """Thirty structures in a file, in the working directory; the sixth cannot be imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    lines = []
    for number in range(30):
        line = {"atomic_numbers": [11 + number % 3, 17], "positions": [[0, 0, 0], [2.8, 0, 0]]}
        line |= {"cell": [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]], "pbc": [True] * 3}
        lines.append(
            json.dumps(line | {"targets": {"energy": -6.0 + 0.1 * number, "metal": number % 2 == 0}})
        )
    lines[5] = "{"
    (tmp_path / "salt.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path / "salt.jsonl"


def run(capsys, *arguments, status=0):
    assert main(["data", *map(str, arguments)]) == status
    captured = capsys.readouterr()
    text = captured.out if status == 0 else captured.err
    if status == 0:
        assert max(map(len, text.splitlines()), default=0) <= 80
    return text


def test_commands_chain(salt, capsys):
    text = run(capsys, "import", salt, "salt", status=1)
    assert "salt.jsonl:6: " in text
    text = run(capsys, "import", salt, "salt", "--on-error", "skip", "--compression", "zstd", "--jobs", 2)
    assert "1 skipped because of errors; see errors.jsonl" in text
    assert "2 shards, zstd" in text
    assert "29 samples in 2 shards match their checksums" in run(capsys, "verify", "salt")
    text = run(capsys, "split", "salt", "--splits", 0.5, 0.25, 0.25, "--group-by", "composition")
    assert "train" in text
    text = run(capsys, "show", "salt", 4)
    assert "targets.energy" in text
    assert "-5.6" in text
    assert "sample_id" in text
    text = run(capsys, "stats", "salt", "--split", "train", "--plot", "salt.png")
    assert "atoms of each element" in text
    assert "least-squares energy per element" in text
    assert (salt.parent / "salt.png").read_bytes().startswith(b"\x89PNG")
    text = run(capsys, "precompute", "salt", "edges", "--cutoff", 4.0)
    assert "PeriodicPropertiesTransform(" in text
    run(capsys, "precompute", "salt", "edges", "--cutoff", 4.0)
    text = run(capsys, "precompute", "salt", "edges", "--cutoff", 5.0, status=1)
    assert "PeriodicPropertiesTransform(cutoff_radius=4.0)" in text


def test_precompute_reads_transforms_from_file(salt, capsys):
    run(capsys, "import", salt, "salt", "--on-error", "skip", "--targets", "energy")
    path = salt.parent / "transforms.yaml"
    path.write_text(
        "- class_path: mml_graphs.PeriodicPropertiesTransform\n  init_args: {cutoff_radius: 3.5}\n"
    )
    assert "cutoff_radius=3.5" in run(capsys, "precompute", "salt", "edges", "--transforms", path)
    for text, message in (
        ("- 3", "3 does not describe a transform; expected a mapping with class_path"),
        ("a: 1", "must contain a list of transforms with class_path and init_args, got dict"),
        ("- class_path: mml_graphs.Nothing", "mml_graphs.Nothing: module 'mml_graphs' has no attribute"),
        ("- class_path: nowhere.Nothing", "nowhere.Nothing: No module named 'nowhere'"),
        ("- class_path: mml_graphs.PeriodicPropertiesTransform", "missing 1 required positional argument"),
    ):
        path.write_text(text)
        assert message in run(capsys, "precompute", "salt", "other", "--transforms", path, status=1)
    assert "precompute has no transforms to apply; pass --cutoff R or --transforms FILE" in run(
        capsys, "precompute", "salt", "other", status=1
    )


def test_invalid_arguments_raise(salt, capsys):
    assert "nothing" in run(capsys, "verify", "nothing", status=1)
    assert "INDEX must be below 1,527" in run(capsys, "show", "emt", 2000, status=1)
    assert "'dev'" in run(capsys, "stats", "emt", "--split", "dev", status=1)
    assert "--plot x.doc failed" in run(capsys, "stats", "prototypes", "--plot", "x.doc", status=1)
    assert "'x'" in run(capsys, "import", salt, "salt", "--reader", "x", status=1)


@pytest.mark.parametrize("name", ["emt", "prototypes"])
def test_views_accept_embedded_datasets(name, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    run(capsys, "stats", name, "--plot", tmp_path / "all.svg")
    assert "<svg" in (tmp_path / "all.svg").read_text()
    for command in ("info", "show"):
        assert name in run(capsys, command, name)


@pytest.mark.slow
def test_ranks_share_import(salt):
    mpiexec = shutil.which("mpiexec", path=str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"])
    if mpiexec is None:
        pytest.skip("mpiexec is not installed")
    command = [mpiexec, "-n", "2", sys.executable, "-m", "matsciml", "data"]
    options = {"cwd": salt.parent, "capture_output": True, "text": True, "timeout": 200}
    done = subprocess.run([*command, "import", "salt.jsonl", "salt", "--on-error", "skip"], **options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("data set") == 1
    assert "in 2 shards" in done.stdout
    done = subprocess.run([*command, "precompute", "salt", "edges", "--cutoff", "4"], **options)
    assert done.returncode == 0, done.stderr
    assert main(["data", "verify", str(salt.parent / "edges")]) == 0
    done = subprocess.run([*command, "import", "salt.jsonl", "other"], **options)
    assert done.returncode != 0
    assert "salt.jsonl:6: " in done.stderr
    assert not (salt.parent / "other").exists()
