import pickle

import numpy as np
import pytest
from mml_data import LMDBDataset, LMDBWriter, finish_dataset, write_shard


def test_unordered_shards_equal_writer(tmp_path, samples, splits):
    for number in (2, 0, 1):
        count = write_shard(tmp_path / "toy", number, samples[8 * number : 8 * number + 8])
        assert count == (8, 8, 4)[number]
    with pytest.raises(ValueError, match=r"is not a data set, because it has no manifest\.json"):
        LMDBDataset(tmp_path / "toy")
    manifest = finish_dataset(tmp_path / "toy", source={"origin": "x"}, splits=splits)
    with LMDBWriter(tmp_path / "other" / "toy", source={"origin": "x"}, shard_size=8) as writer:
        for sample in samples:
            writer.add(sample)
        writer.set_splits(splits)
    assert manifest == LMDBDataset(tmp_path / "other" / "toy").manifest
    LMDBDataset(tmp_path / "toy").verify()


def test_interrupted_shard_continues(tmp_path, samples):
    def failing():
        yield from samples[:5]
        raise RuntimeError("the node is gone")

    with pytest.raises(RuntimeError, match="the node is gone"):
        write_shard(tmp_path / "toy", 0, failing())
    write_shard(tmp_path / "toy", 0, samples[:3])
    assert write_shard(tmp_path / "toy", 0, samples) == 20
    finish_dataset(tmp_path / "toy")
    energies = [sample["targets"]["energy"] for sample in samples]
    assert [LMDBDataset(tmp_path / "toy").stored(i)["targets"]["energy"] for i in range(20)] == energies


def test_invalid_shards_raise(tmp_path, samples):
    with pytest.raises(FileNotFoundError, match=r"directory .* does not exist; write shards"):
        finish_dataset(tmp_path / "none")
    with pytest.raises(ValueError, match=r"sample 1 of shard 3: pos of the sample has shape"):
        write_shard(tmp_path / "toy", 3, [samples[0], {**samples[1], "pos": np.zeros((0, 3))}])
    with pytest.raises(ValueError, match="the data set has no samples"):
        finish_dataset(tmp_path / "toy")
    write_shard(tmp_path / "toy", 0, samples, compression="zstd")
    finish_dataset(tmp_path / "toy", compression="zstd", name="named")
    assert LMDBDataset(tmp_path / "toy")[0]["sample_id"] == "named/000000"
    with pytest.raises(FileExistsError, match="is already a data set, whose shards must not change"):
        write_shard(tmp_path / "toy", 1, samples)
    with pytest.raises(FileExistsError, match="is already a data set"):
        finish_dataset(tmp_path / "toy")
    assert pickle.loads(pickle.dumps(write_shard)) is write_shard
