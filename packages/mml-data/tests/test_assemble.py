import numpy as np
import pytest
from mml_data.store.assemble import assemble, count_records, shard_name, shards_in
from mml_data.store.manifest import Manifest
from mml_data.store.records import encode_record
from mml_data.store.shard_writer import ShardWriter


@pytest.fixture
def directory(tmp_path, samples):
    """Directory of four shards with 3, 0, 2 and 0 samples. The file of the last one is empty."""
    for number, some in enumerate((samples[:3], [], samples[3:5])):
        writer = ShardWriter(tmp_path / shard_name(number))
        for sample in some:
            writer.add(encode_record(sample))
        writer.close()
    (tmp_path / shard_name(3)).touch()
    return tmp_path


def test_shards_are_counted_in_order(directory):
    shards = shards_in(directory)
    assert [path.name for path in shards] == [f"shard-0000{number}.lmdb" for number in range(4)]
    assert count_records(shards) == [3, 0, 2, 0]


def test_assemble_describes_shards(directory, samples):
    manifest = assemble(
        directory,
        name="toy",
        source={"origin": "test"},
        splits=lambda count: {"train": np.arange(count - 1), "val": np.array([count - 1])},
    )
    assert manifest == Manifest.read(directory)
    assert [(shard.file, shard.count) for shard in manifest.shards] == [
        ("shard-00000.lmdb", 3),
        ("shard-00002.lmdb", 2),
    ]
    assert len(shards_in(directory)) == 2
    assert np.load(directory / "natoms.npy").tolist() == [len(sample["pos"]) for sample in samples[:5]]
    assert {name: split.count for name, split in manifest.splits.items()} == {"train": 4, "val": 1}
    energies = [sample["targets"]["energy"] for sample in samples[:5]]
    for part, expected in (("all", energies), ("train", energies[:4]), ("val", energies[4:])):
        assert manifest.statistics[part]["targets"]["energy"]["mean"] == pytest.approx(np.mean(expected))


def test_split_beyond_last_sample_raises(directory):
    with pytest.raises(ValueError, match="split 'val' has the index 5, but the data set has 5 samples"):
        assemble(directory, name="toy", source={}, splits=lambda count: {"val": np.array([count])})
    assert not (directory / "manifest.json").exists()


def test_directory_without_samples_raises(tmp_path):
    with pytest.raises(ValueError, match="the data set has no samples; add at least one"):
        assemble(tmp_path, name="toy", source={}, splits=lambda count: {})
