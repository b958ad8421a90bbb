import hashlib

import pytest
from mml_data.convert.files import existing_file, file_checksum


def test_a_file_is_given_back_as_a_path(tmp_path):
    (tmp_path / "a").write_bytes(b"content")
    assert existing_file(str(tmp_path / "a")) == tmp_path / "a"
    assert file_checksum(tmp_path / "a") == hashlib.sha256(b"content").hexdigest()


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file '.*nothing' to import"):
        existing_file(tmp_path / "nothing")
    with pytest.raises(ValueError, match="is a directory"):
        existing_file(tmp_path)
