import json
from pathlib import Path

import pytest
from mml_data import LMDBDataset
from mml_data.convert import import_source

STRUCTURE = {"atomic_numbers": [18], "positions": [[0.0, 0.0, 0.0]], "targets": {"energy": 0.0}}


@pytest.mark.parametrize("suffix", [".jsonl", ".JSONL"])
def test_json_lines_are_chosen_by_the_suffix(tmp_path, suffix):
    source = tmp_path / f"argon{suffix}"
    source.write_text((json.dumps(STRUCTURE) + "\n") * 4)
    manifest = import_source(str(source), tmp_path / "out", splits=(0.5, 0.25, 0.25), seed=1)
    assert manifest == LMDBDataset(tmp_path / "out").manifest
    assert manifest.source["origin"] == source.name


@pytest.mark.parametrize("name", ["structures.xyz", "structures", "structures.jsonl.gz"])
def test_other_files_are_refused_with_what_can_be_read(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(
        ValueError, match=rf"{name}' cannot be imported: only files that end in \.jsonl can be"
    ):
        import_source(tmp_path / name, tmp_path / "out")


def test_a_missing_file():
    with pytest.raises(FileNotFoundError, match=r"there is no file 'nowhere\.jsonl' to import"):
        import_source(Path("nowhere.jsonl"), "out")


def test_a_directory(tmp_path):
    with pytest.raises(ValueError, match="is a directory: give a file to import"):
        import_source(tmp_path, tmp_path / "out")
