import json

import pytest
from mml_data.store.manifest import FileEntry, Manifest


def make(**changes):
    fields = {
        "name": "toy",
        "num_samples": 3,
        "shards": [FileEntry("shard-00000.lmdb", 3, "ab")],
        "schema": {"pos": {"dtype": "float64", "shape": ["N", 3], "units": "angstrom", "samples": 3}},
        "splits": {"train": FileEntry("split-train.npy", 2, "cd")},
        "sizes": {"natoms": FileEntry("natoms.npy", 3, "ef")},
        "compression": "zstd",
        "statistics": {"all": {"count": 3}},
        "source": {"origin": "é"},
    }
    return Manifest(**fields | changes)


def test_reading_inverts_writing(tmp_path):
    make().write(tmp_path)
    assert Manifest.read(tmp_path) == make()
    assert [file.name for file in tmp_path.iterdir()] == ["manifest.json"]


def test_manifest_is_plain_json(tmp_path):
    make().write(tmp_path)
    content = json.loads((tmp_path / "manifest.json").read_text())
    assert content["format"] == "mml-lmdb"
    assert content["version"] == 3
    assert content["shards"] == [{"file": "shard-00000.lmdb", "count": 3, "sha256": "ab"}]


def test_nan_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        make(statistics={"all": {"mean": float("nan")}}).write(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("version", "remedy"),
    [
        (4, "install a newer mml-data"),
        (0, "import it again with"),
        (None, "import it again"),
        (1, "import it again"),
        ("1", "import it again"),
    ],
)
def test_other_versions_raise(tmp_path, version, remedy):
    make().write(tmp_path)
    file = tmp_path / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"version": version}))
    with pytest.raises(
        ValueError, match=rf"has format version {version!r}, but this mml-data reads 3; {remedy}"
    ):
        Manifest.read(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is damaged and not valid JSON"),
        ("[]", "is not the manifest of a data set, because its format is not 'mml-lmdb'"),
        ('{"format": "zarr"}', "is not the manifest of a data set"),
        ('{"format": "mml-lmdb", "version": 3}', "is damaged: 'shards'"),
        ('{"format": "mml-lmdb", "version": 3, "shards": [3], "splits": {}, "sizes": {}}', "is damaged"),
        (
            '{"format": "mml-lmdb", "version": 3, "shards": [], "splits": {}, "sizes": {}, "x": 1}',
            "is damaged: .*'x'",
        ),
    ],
)
def test_damaged_manifest_raises(tmp_path, text, message):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        Manifest.read(tmp_path)


def test_missing_manifest_raises(tmp_path):
    with pytest.raises(
        ValueError,
        match=r"is not a data set, because it has no manifest\.json; create a data set with `matsciml",
    ):
        Manifest.read(tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"data set .* does not exist; .* or use an embedded one: 'emt'"
    ):
        Manifest.read(tmp_path / "none")
