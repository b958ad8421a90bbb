import bz2
import gzip
import lzma
import tarfile
import zipfile

import pytest
from mml_data.importers.compressed import decompressed, decompressed_name, extracted, is_archive, read_head

zstandard = pytest.importorskip("zstandard")
TEXT = b"a line\n" * 20_000
PACK = {
    "": lambda data: data,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: zstandard.ZstdCompressor().compress(data),
}


@pytest.mark.parametrize("suffix", PACK)
def test_content_is_decompressed(tmp_path, suffix):
    file = tmp_path / f"frames.xyz{suffix}"
    file.write_bytes(PACK[suffix](TEXT))
    assert decompressed_name(file.name) == "frames.xyz"
    assert read_head(file) == TEXT[: 1 << 16]
    with decompressed(file) as path:
        assert (path == file) == (suffix == "")
        assert path.name == "frames.xyz"
        assert path.read_bytes() == TEXT
    assert path.exists() == (suffix == "")


def test_several_zstd_frames_are_joined(tmp_path):
    file = tmp_path / "a.xyz.zst"
    file.write_bytes(PACK[".zst"](TEXT) + PACK[".zst"](b"end"))
    with decompressed(file) as path:
        assert path.read_bytes() == TEXT + b"end"


@pytest.mark.parametrize("suffix", [suffix for suffix in PACK if suffix])
def test_damaged_file_raises(tmp_path, suffix):
    file = tmp_path / f"frames.xyz{suffix}"
    file.write_bytes(b"not compressed")
    with pytest.raises((OSError, EOFError)):
        read_head(file)
    file.write_bytes(PACK[suffix](TEXT)[:-20])
    with pytest.raises((OSError, EOFError)), decompressed(file):
        pass


@pytest.mark.parametrize("name", ["OUTCAR", "a.xyz", "gz", ".gz"])
def test_other_names_are_not_compressed(name):
    assert decompressed_name(name) == name


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tgz", "a.tar.bz2", "a.tar.xz"])
def test_archive_is_extracted(tmp_path, name):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.xyz").write_bytes(TEXT)
    archive = tmp_path / name
    if name.endswith(".zip"):
        with zipfile.ZipFile(archive, "w") as file:
            file.write(tmp_path / "in" / "a.xyz", "in/a.xyz")
    else:
        mode = {"a.tar": "w", "a.tgz": "w:gz"}.get(name, f"w:{name.rpartition('.')[2]}")
        with tarfile.open(archive, mode) as tar:
            tar.add(tmp_path / "in", "in")
    assert is_archive(archive)
    with extracted(archive) as folder:
        assert (folder / "in" / "a.xyz").read_bytes() == TEXT
    assert not folder.exists()
    archive.write_bytes(b"not an archive")
    with pytest.raises(OSError, match="the archive cannot be extracted"), extracted(archive):
        pass
