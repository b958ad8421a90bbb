import json
from pathlib import Path

import pytest
from matsciml.cli import main
from mml_data import LMDBDataset, Manifest


def write(path, energies):
    line = {"atomic_numbers": [11, 17], "positions": [[0, 0, 0], [2.8, 0, 0]]}
    lines = [
        json.dumps(line | {"targets": {"energy": energy}, "extra": {"name": f"s{number}"}})
        for number, energy in enumerate(energies)
    ]
    Path(path).write_text("".join(line + "\n" for line in lines))


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    write("in.jsonl", range(20))


def run(capsys, *arguments, status=0):
    assert main(["data", "import", *map(str, arguments)]) == status
    captured = capsys.readouterr()
    return captured.out if status == 0 else captured.err


def splits(path):
    return {name: entry.count for name, entry in Manifest.read(path).splits.items()}


def test_help_fits_terminal(capsys):
    with pytest.raises(SystemExit):
        main(["data", "import", "--help"])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_paths_and_options_can_be_mixed(capsys):
    run(capsys, "in.jsonl", "--splits", 0.5, 0.5, 0, "out")
    assert splits("out") == {"train": 10, "val": 10}
    run(capsys, "--seed", 3, "in.jsonl", "other")
    assert splits("other") == {"train": 16, "val": 2, "test": 2}


def test_account_is_printed(capsys):
    text = run(capsys, "in.jsonl", "out")
    assert "20 structures from 1 file" in text
    assert "energy: 20 of 20 (scalar, eV)" in text
    assert max(map(len, text.splitlines())) <= 80
    account = json.loads(run(capsys, "in.jsonl", "json", "--json"))
    assert account == Manifest.read("json").source["account"]
    assert run(capsys, "in.jsonl", "quiet", "--quiet") == ""


def test_files_of_splits_are_imported(capsys):
    write("valid.jsonl", range(3))
    run(capsys, "out", "--train", "in.jsonl", "--valid", "valid.jsonl")
    assert splits("out") == {"train": 20, "val": 3}
    run(capsys, "in.jsonl", "test", "--splits", 0, 0, 1)
    assert splits("test") == {"test": 20}


def test_labels_are_mapped_and_joined(capsys):
    Path("gaps.csv").write_text("key,name,gap\n" + "".join(f"{n},s{n},{n}\n" for n in range(20)))
    text = run(
        capsys, "in.jsonl", "out", "--labels", "gaps.csv", "--id-column", "name", "--units",
        "energy=hartree", "--targets", "energy", "band_gap=gap",
    )  # fmt: skip
    assert "band_gap: 20 of 20" in text
    targets = LMDBDataset("out").stored(3)["targets"]
    assert targets["energy"] == pytest.approx(3 * 27.2113860)
    assert targets["band_gap"] == 3


def test_recipe_repeats_import(capsys):
    Path("r.yaml").write_text("splits: [0.5, 0.25, 0.25]\nseed: 3\nsource: in.jsonl\n")
    run(capsys, "first", "--recipe", "r.yaml")
    run(capsys, "second", "--recipe", "first")
    assert Manifest.read("first").splits == Manifest.read("second").splits
    assert splits("second") == {"train": 10, "val": 5, "test": 5}
    run(capsys, "third", "--recipe", "r.yaml", "--splits", 1, 0, 0)
    assert splits("third") == {"train": 20}


def test_folds_are_drawn(capsys):
    run(capsys, "in.jsonl", "out", "--folds", 5, "--fold", 2, "--split-by", "frame")
    assert splits("out") == {"train": 12, "val": 4, "test": 4}
    assert main(["data", "split", "out", "--folds", "4", "--fold", "1"]) == 0
    assert splits("out") == {"train": 10, "val": 5, "test": 5}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["in.jsonl"], "requires SOURCE and DEST, got in.jsonl; without SOURCE, give --train"),
        (["https://example.org/a.xyz", "out"], "; download the file first, and"),
        (["nothing.xyz", "out"], "'nothing.xyz' does not exist"),
        (["in.jsonl", "out", "--train", "in.jsonl"], "pass either a source or files of splits"),
        (["in.jsonl", "out", "--folds", "2"], "folds must be at least 3"),
        (["in.jsonl", "out", "--labels", "none.csv"], "'none.csv' does not exist"),
        (["in.jsonl", "out", "--split-by", "extra.tag"], "has no key 'extra.tag' to group by; use one of"),
    ],
)
def test_invalid_arguments_raise(capsys, arguments, message):
    assert message in " ".join(run(capsys, *arguments, status=1).split())


def test_pairs_are_checked(capsys):
    with pytest.raises(SystemExit):
        main(["data", "import", "in.jsonl", "out", "--units", "hartree"])
    assert "'hartree' must have the form QUANTITY=UNIT" in capsys.readouterr().err
