import os

import pytest
from mml_data.convert import import_source
from mml_data.importers.unchanged import Unchanged


def test_any_change_raises(tmp_path):
    (tmp_path / "folder").mkdir()
    files = [tmp_path / "a.xyz", tmp_path / "folder" / "b.xyz"]
    for file in files:
        file.write_text("1")
    check = Unchanged([files[0], tmp_path / "folder"])
    check()
    os.utime(files[1], (1, 1))
    with pytest.raises(ValueError, match=r"b\.xyz' changed while it was imported"):
        check()
    check = Unchanged([tmp_path])
    files[0].unlink()
    with pytest.raises(ValueError, match=r"a\.xyz' changed"):
        check()


def test_import_of_changing_file_raises(tmp_path, write_lines):
    source = write_lines(tmp_path / "in.jsonl", 20)

    def change(done):
        with source.open("a") as file:
            file.write("\n")

    with pytest.raises(ValueError, match=r"in\.jsonl' changed while it was imported") as error:
        import_source(source, tmp_path / "out", progress=change)
    assert "resume" not in str(error.value)
    assert not (tmp_path / "out").exists()
