import pytest
from mml_data.store.publish import PartialDirectory


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def publish(destination, content, *, overwrite=True):
    directory = PartialDirectory(destination, overwrite=overwrite)
    directory.create()
    (directory.path / "manifest.json").write_text(content)
    return directory


def test_publish_replaces_destination(tmp_path):
    for content in ("first", "second"):
        directory = publish(tmp_path / "toy", content)
        assert content not in [path.read_text() for path in tmp_path.glob("toy/*")]
        directory.publish()
        directory.release()
        assert names(tmp_path) == ["toy"]
        assert (tmp_path / "toy" / "manifest.json").read_text() == content


def test_empty_directory_is_replaced(tmp_path):
    (tmp_path / "toy").mkdir()
    directory = publish(tmp_path / "toy", "x", overwrite=False)
    directory.publish()
    directory.release()
    assert names(tmp_path / "toy") == ["manifest.json"]


def test_other_files_are_never_replaced(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileExistsError, match="file' is a file"):
        PartialDirectory(tmp_path / "file", overwrite=True)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "shard-00000.lmdb").write_text("x")
    with pytest.raises(FileExistsError, match=r"home' contains other files \('shard-00000.lmdb'\)"):
        PartialDirectory(tmp_path / "home", overwrite=True)
    (tmp_path / "home" / "manifest.json").write_text("x")
    (tmp_path / "home" / "thesis.tex").write_text("x")
    with pytest.raises(FileExistsError, match=r"home' contains other files \('thesis.tex'\)"):
        PartialDirectory(tmp_path / "home", overwrite=True)


def test_new_files_are_not_replaced(tmp_path):
    directory = publish(tmp_path / "toy", "mine")
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "thesis.tex").write_text("x")
    with pytest.raises(FileExistsError, match=r"thesis\.tex"):
        directory.publish()
    directory.release()
    assert names(tmp_path) == ["toy"]


def test_second_writer_raises(tmp_path):
    first = publish(tmp_path / "toy", "x")
    second = PartialDirectory(tmp_path / "toy", overwrite=True)
    with pytest.raises(BlockingIOError, match="another process is writing to"):
        second.create()
    second.release()
    assert first.path.exists()
    first.release()
    second.create()
    second.release()
    assert names(tmp_path) == []


def test_interrupted_renames_lose_nothing(tmp_path):
    directory = publish(tmp_path / "toy", "old")
    directory.publish()
    directory.release()
    (tmp_path / "toy").rename(tmp_path / ".toy.previous")
    with pytest.raises(FileExistsError, match="is already a data set"):
        PartialDirectory(tmp_path / "toy", overwrite=False).create()
    assert (tmp_path / "toy" / "manifest.json").read_text() == "old"
    assert names(tmp_path) == ["toy"]
