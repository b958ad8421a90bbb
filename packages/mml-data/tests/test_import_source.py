import shutil

import pytest
from mml_data import LMDBDataset
from mml_data.convert import import_source


def test_manifest_contains_call(tmp_path, monkeypatch, write_lines):
    monkeypatch.chdir(tmp_path)
    write_lines(tmp_path / "a b.jsonl", 10)
    manifest = import_source("a b.jsonl", tmp_path / "out", about={"license": "MIT"}, progress=True)
    assert manifest.source["command"] == "mml_data.convert.import_source('a b.jsonl', 'out')"
    assert manifest.source["license"] == "MIT"
    options = {"splits": [0.5, 0.5, 0], "targets": {"energy"}, "units": {"targets.energy": "eV"}}
    manifest = import_source("a b.jsonl", "again", seed=3, jobs=2, **options)
    command = manifest.source["command"]
    assert command == (
        "mml_data.convert.import_source('a b.jsonl', 'again', splits=[0.5, 0.5, 0], seed=3, "
        "targets=['energy'], units={'targets.energy': 'eV'})"
    )
    shutil.rmtree("again")
    exec(f"import mml_data.convert\n{command}", {})
    assert LMDBDataset("again").manifest.source == manifest.source
    assert import_source("a b.jsonl", "mine", about={"command": "mine"}).source["command"] == "mine"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"jobs": 0}, "jobs must be at least 1, got 0"),
        ({"on_error": "ignore"}, "on_error must be 'stop' or 'skip', got 'ignore'"),
        ({"compression": "gzip"}, "compression must be None or 'zstd'"),
        ({"splits": (0.8, 0.1)}, "splits must be three shares"),
        ({"splits": (1.2, -0.1, -0.1)}, "splits must be three shares"),
        ({"splits": (0.5, 0.2, 0.3), "folds": 5}, "splits and folds are mutually exclusive"),
        ({"test": "x.jsonl"}, "pass either a source or files of splits"),
        ({"id_column": "name"}, "id_column 'name' requires a table; pass labels"),
        ({"splits": (0.98, 0.01, 0.01)}, "split 'val' would be empty, because 5 samples"),
    ],
)
def test_invalid_options_raise(tmp_path, options, message, write_lines):
    source = write_lines(tmp_path / "in.jsonl", 5)
    with pytest.raises(ValueError, match=message):
        import_source(source, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_zero_share_omits_split(tmp_path, write_lines):
    source = write_lines(tmp_path / "in.jsonl", 20)
    manifest = import_source(source, tmp_path / "out", splits=(0.75, 0.25, 0), seed=4)
    assert {name: entry.count for name, entry in manifest.splits.items()} == {"train": 15, "val": 5}
    assert manifest.source["split"] == {
        "shares": {"train": 0.75, "val": 0.25, "test": 0.0},
        "seed": 4,
        "group_by": "frame",
    }


def test_options_reach_manifest(tmp_path, write_lines):
    source = write_lines(tmp_path / "in.jsonl", 20)
    manifest = import_source(
        source,
        tmp_path / "out",
        compression="zstd",
        units={"targets.energy": "meV"},
        about={"license": "MIT"},
    )
    assert (manifest.compression, manifest.source["license"]) == ("zstd", "MIT")
    assert manifest.schema["targets.energy"]["units"] == "meV"
    assert [sample["targets"]["energy"] for sample in LMDBDataset(tmp_path / "out")] == list(range(20))
