import re

import pytest
from matsciml.cli import main
from matsciml.commands import check
from mml_data.importers.label_names import AMBIGUOUS, RECOGNIZED
from mml_data.importers.registry import known_formats


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def words(text):
    return " ".join(text.split())


def test_formats_lists_all_formats(capsys):
    assert main(["data", "formats"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    for each in known_formats():
        assert f" {each.name.split()[0]}" in text
        assert each.labels.split()[0] in text
        assert f"mml-data[{each.requires}]" in text or each.requires is None


@pytest.mark.parametrize("missing", [set(), {"h5py"}, {"h5py", "pandas", "ase"}])
def test_formats_shows_missing_extras(capsys, monkeypatch, missing):
    monkeypatch.setattr(check, "_version", lambda name: None if name in missing else "9999")
    assert main(["data", "formats"]) == 0
    rows = re.findall(r"mml-data\[(\w+)\].*\n (not installed|installed) ", capsys.readouterr().out)
    extras = {"h5py": {"hdf5"}, "pandas": {"parquet"}, "ase": {"ase", "aselmdb"}}
    expected = set().union(*(extras[name] for name in missing))
    assert {extra for extra, state in rows if state == "not installed"} == expected
    assert len(rows) == sum(each.requires is not None for each in known_formats())


def test_labels_lists_all_names(capsys):
    assert main(["data", "formats", "--labels"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    for each in RECOGNIZED:
        assert all(re.search(rf" {name} ", text) for name in each.names)
    assert "stress=NAME:-1/volume" in text
    for name, reason in AMBIGUOUS.items():
        assert f"{name}: {reason}" in words(text)
